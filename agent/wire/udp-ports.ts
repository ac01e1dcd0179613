/**
 * UDP ports of services that are asked by multicast or broadcast (IANA, Service Name and Transport Protocol Port Number
 * Registry): here and not with the services' own messages, for a node may have to know the one without the other.
 */

/** RFC 2131 §4.1. */
export const dhcpServerPort = 67;
export const dhcpClientPort = 68;
/** UPnP Device Architecture 2.0 §1.2.1. */
export const ssdpPort = 1900;
/** RFC 4795 §2. */
export const llmnrPort = 5355;
