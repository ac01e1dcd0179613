/**
 * The module `mc/config`, which mcconfig makes on all platforms but the command-line ones: the SDK's store asks it for its folder.
 */

export default { file: { root: './' } };
