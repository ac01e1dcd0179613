/**
 * The restart of slots-linux.js.
 */

#include "xsmc.h"
#include "mc.xs.h"
#include <stdlib.h>

void xs_kith_exit(xsMachine *the)
{
	exit(0);
}
