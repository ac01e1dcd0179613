/**
 * Why bytes were refused. One short list for every protocol, so that a counter a reason stays readable.
 */

export type Reason =
  /** The bytes end before the structure does. */
  | 'truncated'
  /** A length field contradicts the bytes around it or the structure it describes. */
  | 'bad-length'
  | 'bad-checksum'
  /** A version number that is not the protocol's. */
  | 'bad-version'
  /** A type, code, operation or hardware type this protocol does not have. */
  | 'bad-type'
  /** A field holds what the standard forbids. */
  | 'bad-value'
  /** An option, tag or extension header that is malformed in itself. */
  | 'bad-option'
  /** A fixed mark is missing (DHCP cookie, magic packet's synchronisation bytes). */
  | 'bad-magic'
  /** A domain name with a label over 63 bytes, over 255 bytes in all, or not text. */
  | 'bad-name'
  /** A compression pointer that points forward, at itself, or round in a circle. */
  | 'bad-pointer'
  /** More elements than the limit for them. */
  | 'too-many';
