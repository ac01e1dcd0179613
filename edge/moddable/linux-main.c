/**
 * The `main` of the Linux command-line build, which that platform of the SDK has not: it seeds Math.random, makes the machine
 * that the manifest describes, imports its main module, and runs GLib's loop, on which the SDK's timers and sockets hang.
 * And what the SDK's UDP sockets lack there: groups and broadcasts.
 */

#include "xs.h"
#include "mc.xs.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <glib.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

extern void fxInitializeSharedCluster(xsMachine *the);

/** Called where the machine cannot go on: memory full, an exception nobody caught. Whoever started us starts us again. */
void fxAbort(xsMachine *the, int status)
{
	fprintf(stderr, "kith: the machine ended: %s\n", fxAbortString(status));
	exit(1);
}

/** Lets a socket send to all, and join a group (`mreq` with one). The errno, or 0. */
static int open_up(int fd, const struct ip_mreqn *mreq)
{
	int on = 1, off = 0, hops = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) != 0)
		return errno;
	if (mreq->imr_multiaddr.s_addr == 0)
		return 0;
	// Of the link's neighbours only, and not of ourselves.
	if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, mreq, sizeof(*mreq)) != 0
		|| setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, mreq, sizeof(*mreq)) != 0
		|| setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &hops, sizeof(hops)) != 0
		|| setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &off, sizeof(off)) != 0)
		return errno;
	return 0;
}

/**
 * Port, group or '', interface or '' (then the one that routes say): for the SDK's UDP socket on that port (0: all that have none
 * yet). The SDK does not say which descriptor is its, so all open ones are looked at.
 */
void xs_kith_open_udp(xsMachine *the)
{
	int port = xsToInteger(xsArg(0));
	struct ip_mreqn mreq = {0};
	char name[IF_NAMESIZE] = "";
	if (*xsToString(xsArg(1)) != 0 && inet_pton(AF_INET, xsToString(xsArg(1)), &mreq.imr_multiaddr) != 1)
		xsUnknownError("no group");
	strncpy(name, xsToString(xsArg(2)), sizeof(name) - 1);
	if (*name != 0 && (mreq.imr_ifindex = (int)if_nametoindex(name)) == 0)
		xsUnknownError("no interface of that name");
	DIR *descriptors = opendir("/proc/self/fd");
	if (descriptors == NULL)
		xsUnknownError("no /proc");
	int fault = 0;
	for (struct dirent *entry; (entry = readdir(descriptors)) != NULL;) {
		int fd = atoi(entry->d_name), kind = 0;
		socklen_t kindLength = sizeof(kind);
		struct sockaddr_in own = {0};
		socklen_t ownLength = sizeof(own);
		if (*entry->d_name == '.'
			|| getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &kindLength) != 0 || kind != SOCK_DGRAM
			|| getsockname(fd, (struct sockaddr *)&own, &ownLength) != 0
			|| own.sin_family != AF_INET || ntohs(own.sin_port) != port)
			continue;
		fault = open_up(fd, &mreq);
	}
	closedir(descriptors);
	if (fault != 0)
		xsUnknownError("%s", strerror(fault));
}

int main(void)
{
	unsigned seed = 0;
	int status = 0;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return 1;
	srand(seed);
	// A broker that went away must not end the process.
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	fxInitializeSharedCluster(NULL);
	xsCreation *creation;
	void *preparation = xsPreparationAndCreation(&creation);
	xsMachine *machine = fxPrepareMachine(creation, preparation, "kith", NULL, NULL);
	if (machine == NULL)
		return 1;
	xsBeginHost(machine);
	{
		xsTry {
			xsAwaitImport("edge/moddable/main", XS_IMPORT_DEFAULT);
		}
		xsCatch {
			fprintf(stderr, "kith: %s\n", xsToString(xsException));
			status = 1;
		}
	}
	xsEndHost(machine);
	if (status == 0)
		g_main_loop_run(g_main_loop_new(NULL, FALSE));
	return status;
}
