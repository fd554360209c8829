/** Whether a host name or address, with or without brackets, can only be this machine. */
export const isLoopback = (host: string): boolean => /^(127\.\d+\.\d+\.\d+|localhost|\[?::1\]?)$/.test(host)
