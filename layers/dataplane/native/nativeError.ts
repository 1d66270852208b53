import { formatHostPort } from "../../../src/packet/endpoint.ts"

/** A system call that failed while the gateway was being set up. `message` is one line: what failed, why, the fix. */
export class NativeError {
  readonly _tag = "NativeError"
  readonly syscall: string
  /** `EADDRINUSE`, `EPERM` … */
  readonly errno: string
  readonly message: string

  constructor(syscall: string, errno: string, message: string) {
    this.syscall = syscall
    this.errno = errno
    this.message = message
  }
}

const netAdmin = 'run as root or grant CAP_NET_ADMIN (systemd: "AmbientCapabilities=CAP_NET_ADMIN")'

/** Why /dev/net/tun did not open or the device `name` was not attached. */
export const tunError = (syscall: string, errno: string, name: string): NativeError => {
  const because = (): string => {
    switch (errno) {
      case "ENOENT":
      case "ENODEV":
      case "ENXIO":
        return '/dev/net/tun is missing: run "modprobe tun" (in a container: "--device /dev/net/tun")'
      case "EPERM":
      case "EACCES":
        return syscall === "open"
          ? `/dev/net/tun may not be opened (${errno}): run as root or let this user open the device`
          : `cannot create the TUN device ${name} (${errno}): ${netAdmin}`
      case "EBUSY":
        return `the TUN device ${name} is in use by another process: stop that process or choose another device name`
      case "EINVAL":
        return `cannot use ${name} as a TUN device (${errno}): the name is invalid, or an interface of another kind has it; choose another device name`
      case "EMFILE":
      case "ENFILE":
        return `cannot open the TUN device ${name} (${errno}): too many open files; raise "ulimit -n" (systemd: LimitNOFILE)`
      default:
        return `cannot open the TUN device ${name}: ${syscall} failed with ${errno}`
    }
  }
  return new NativeError(syscall, errno, because())
}

/** Why a UDP socket could not be opened or bound. */
export const udpError = (syscall: string, errno: string, family: 4 | 6, port: number): NativeError => {
  const because = (): string => {
    switch (errno) {
      case "EADDRINUSE":
        return `UDP port ${port} is taken (IPv${family}): find its owner with "ss -lunp sport = :${port}" and stop it, or choose another port`
      case "EACCES":
        return `UDP port ${port} may not be bound (EACCES): ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose a higher port`
      case "EAFNOSUPPORT":
        return `the kernel has no IPv${family} (EAFNOSUPPORT)`
      case "EMFILE":
      case "ENFILE":
        return `cannot open a UDP socket (${errno}): too many open files; raise "ulimit -n" (systemd: LimitNOFILE)`
      default:
        return `cannot listen on UDP port ${port} (IPv${family}): ${syscall} failed with ${errno}`
    }
  }
  return new NativeError(syscall, errno, because())
}

/** Why a socket could not be tied to a device. */
export const bindToDeviceError = (errno: string, name: string): NativeError => {
  const because =
    errno === "ENODEV"
      ? `there is no interface ${name} to bind a socket to (ENODEV): somebody has deleted or renamed it; restart the gateway if it stays away`
      : errno === "EPERM"
        ? `cannot bind a socket to ${name} (EPERM): run as root or grant CAP_NET_RAW`
        : `cannot bind a socket to ${name}: setsockopt failed with ${errno}`
  return new NativeError("setsockopt", errno, because)
}

/** Why a socket for a server of the gateway (tunnel DNS) could not be bound. */
export const serverError = (
  syscall: string,
  errno: string,
  transport: "udp" | "tcp",
  address: string,
  port: number
): NativeError => {
  const where = `${transport.toUpperCase()} ${formatHostPort(address, port)}`
  const because = (): string => {
    switch (errno) {
      case "EADDRINUSE":
        return `${where} is taken: a DNS server of the host may listen on every address; bind it to its own addresses`
      case "EADDRNOTAVAIL":
        return `${where} cannot be bound (EADDRNOTAVAIL): the address is not on any interface of this host yet`
      case "EACCES":
        return `${where} may not be bound (EACCES): ports below 1024 need CAP_NET_BIND_SERVICE; run as root or grant it`
      default:
        return `${where} cannot be bound: ${syscall} failed with ${errno}`
    }
  }
  return new NativeError(syscall, errno, because())
}
