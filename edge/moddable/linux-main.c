/**
 * The `main` of the Linux command-line build, which that platform of the SDK has not: it seeds Math.random, makes the machine
 * that the manifest describes, imports its main module, and runs GLib's loop, on which the SDK's timers and sockets hang.
 */

#include "xs.h"
#include "mc.xs.h"
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

extern void fxInitializeSharedCluster(xsMachine *the);

/** Called where the machine cannot go on: memory full, an exception nobody caught. Whoever started us starts us again. */
void fxAbort(xsMachine *the, int status)
{
	fprintf(stderr, "kith: the machine ended: %s\n", fxAbortString(status));
	exit(1);
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
