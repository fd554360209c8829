/** Hosts of a URL that lead to this machine by their looks alone: nothing is resolved, so nobody's DNS has a say. */
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/i

/** @param host as it stands in a URL, without the port */
export const isLoopbackHost = (host: string): boolean => LOOPBACK.test(host)
