/**
 * File descriptors, opened and closed by the main thread only; the packet worker gets their numbers (descriptors belong
 * to the process). All are non-blocking and close-on-exec. Failures are values, since each is for the operator to read.
 */
import { isIpv4, parseAddress } from "../../../src/packet/address.ts"
import { errno, errnoName, libc } from "./ffi.ts"
import { makeMemory } from "./memory.ts"
import { bindToDeviceError, NativeError, serverError, tunError, udpError } from "./nativeError.ts"

export { NativeError } from "./nativeError.ts"

export interface TunDevice {
  readonly fd: number
  readonly name: string
  /** What the kernel agreed to leave to us: checksums and TCP segments, and UDP segments as well. */
  readonly offloads: { readonly tcp: boolean; readonly udp: boolean }
}

/** Attaches to (or creates) the TUN device; `%d` in the name lets the kernel number it. It vanishes when closed. */
export const openTun = (
  name: string,
  options: {
    /** Each packet is preceded by a `virtio_net_hdr`, and super-packets of TCP and (kernel 6.2) UDP may come and go. */
    readonly vnetHeader: boolean
  }
): TunDevice | NativeError => {
  if (!/^[^\s/:]{1,15}$/.test(name)) return tunError("ioctl", "EINVAL", JSON.stringify(name))
  const fd = libc.open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC, 0)
  if (fd < 0) return tunError("open", lastErrno(), name)
  scratch.fill(0)
  for (let i = 0; i < name.length; i++) scratch[i] = name.charCodeAt(i) & 0x7f
  view.setUint16(16, IFF_TUN | IFF_NO_PI | (options.vnetHeader ? IFF_VNET_HDR : 0), true)
  if (libc.ioctl(fd, TUNSETIFF, pointer) < 0) return closing(fd, tunError("ioctl", lastErrno(), name))
  const end = scratch.indexOf(0)
  const attached = String.fromCharCode(...scratch.subarray(0, end))
  const udp = options.vnetHeader && libc.ioctl(fd, TUNSETOFFLOAD, TUN_F_TCP | TUN_F_USO) >= 0
  const tcp = udp || (options.vnetHeader && libc.ioctl(fd, TUNSETOFFLOAD, TUN_F_TCP) >= 0)
  return { fd, name: attached, offloads: { tcp, udp } }
}

export interface UdpSocket {
  readonly fd: number
  readonly port: number
  /** Several datagrams of one sender may be received at once (UDP GRO). */
  readonly gro: boolean
  /** The kernel knows UDP_SEGMENT (4.18); an older one would send a batch as one long datagram. */
  readonly gso: boolean
  /** One line when the kernel granted smaller buffers than wanted. */
  readonly warning: string | null
}

/** A UDP socket on the wildcard address of one family that tells and takes local addresses (PKTINFO). Port 0: any free one. */
export const openUdp = (options: {
  readonly family: 4 | 6
  readonly port: number
  /** Ask for UDP GRO. Default false. */
  readonly gro?: boolean
  /** Wanted size of each socket buffer in bytes. Default 8 MiB. */
  readonly buffer?: number
  /** What the host's routing rules know its packets by (SO_MARK). */
  readonly mark?: number | null
  /** A socket of this process, at an address of its own, may have the port as well. Default false. */
  readonly shared?: boolean
}): UdpSocket | NativeError => {
  const { family, port } = options
  const failed = (syscall: string): NativeError => udpError(syscall, lastErrno(), family, port)
  const fd = libc.socket(family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC, 0)
  if (fd < 0) return failed("socket")
  const required: ReadonlyArray<readonly [level: number, option: number, value: number]> =
    family === 4
      ? [
          [IPPROTO_IP, IP_PKTINFO, 1],
          [IPPROTO_IP, IP_RECVTOS, 1],
          // Outer packets may be fragmented on their way, as the kernel's WireGuard does: no path MTU to black-hole.
          [IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT]
        ]
      : [
          [IPPROTO_IPV6, IPV6_V6ONLY, 1],
          [IPPROTO_IPV6, IPV6_RECVPKTINFO, 1],
          [IPPROTO_IPV6, IPV6_RECVTCLASS, 1],
          [IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DONT]
        ]
  for (const [level, option, value] of required) {
    if (!setOption(fd, level, option, value)) return closing(fd, failed("setsockopt"))
  }
  if (typeof options.mark === "number" && !setOption(fd, SOL_SOCKET, SO_MARK, options.mark)) {
    return closing(fd, failed("setsockopt"))
  }
  const warning = grow(fd, options.buffer ?? 8 * 1024 * 1024)
  scratch.fill(0)
  view.setUint16(0, family === 4 ? AF_INET : AF_INET6, true)
  view.setUint16(2, port, false)
  const length = family === 4 ? 16 : 28
  if (libc.bind(fd, pointer, length) < 0) return closing(fd, failed("bind"))
  // Not before: another program that shares the port would not be noticed.
  if (options.shared === true && !setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return closing(fd, failed("setsockopt"))
  scratch.fill(0)
  view.setUint32(lengthOffset, length, true)
  if (libc.getsockname(fd, pointer, pointer + lengthOffset) < 0) return closing(fd, failed("getsockname"))
  const bound = view.getUint16(2, false)
  const gro = options.gro === true && setOption(fd, SOL_UDP, UDP_GRO, 1)
  view.setUint32(lengthOffset, 4, true)
  const gso = libc.getsockopt(fd, SOL_UDP, UDP_SEGMENT, pointer, pointer + lengthOffset) >= 0
  return { fd, port: bound, gro, gso, warning }
}

/**
 * A bound UDP or TCP socket for one of node's own servers, which takes it over and closes it:
 * `dgram.createSocket(…).bind({ fd })`, `net.createServer(…).listen({ fd })`. With a device (SO_BINDTODEVICE) nothing
 * that enters the host elsewhere reaches it.
 */
export const openServerSocket = (options: {
  readonly transport: "udp" | "tcp"
  /** Canonical text. */
  readonly address: string
  readonly port: number
  readonly device: string | null
  /** A UDP socket of this process has the port at every address. Default false. */
  readonly shared?: boolean
}): { readonly fd: number; readonly port: number } | NativeError => {
  const { transport, address, port } = options
  const failed = (syscall: string): NativeError => serverError(syscall, lastErrno(), transport, address, port)
  const words = parseAddress(address)
  if (words === undefined) return serverError("bind", "EINVAL", transport, address, port)
  const v4 = isIpv4(words)
  const kind = transport === "udp" ? SOCK_DGRAM : SOCK_STREAM
  const fd = libc.socket(v4 ? AF_INET : AF_INET6, kind | O_NONBLOCK | O_CLOEXEC, 0)
  if (fd < 0) return failed("socket")
  // Connections of an earlier run that linger in TIME_WAIT must not keep the port.
  const reuses = transport === "tcp" || options.shared === true
  if (reuses && !setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return closing(fd, failed("setsockopt"))
  if (!v4 && !setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) return closing(fd, failed("setsockopt"))
  const refused = options.device === null ? undefined : bindToDevice(fd, options.device)
  if (refused !== undefined) return closing(fd, refused)
  // For as many datagrams of about a kilobyte as clients may have unanswered (`UnansweredQuestions`). What is not granted is
  // no error.
  if (transport === "udp") grow(fd, 4 * 1024 * 1024)
  scratch.fill(0)
  view.setUint16(0, v4 ? AF_INET : AF_INET6, true)
  view.setUint16(2, port, false)
  if (v4) view.setInt32(4, words.w3, false)
  else for (const [i, word] of [words.w0, words.w1, words.w2, words.w3].entries()) view.setInt32(8 + 4 * i, word, false)
  if (libc.bind(fd, pointer, v4 ? 16 : 28) < 0) return closing(fd, failed("bind"))
  view.setUint32(lengthOffset, 28, true)
  if (libc.getsockname(fd, pointer, pointer + lengthOffset) < 0) return closing(fd, failed("getsockname"))
  return { fd, port: view.getUint16(2, false) }
}

/** The descriptor by which the main thread wakes the worker. */
export const openEventFd = (): number | NativeError => {
  const fd = libc.eventfd(0, O_NONBLOCK | O_CLOEXEC)
  if (fd >= 0) return fd
  const name = lastErrno()
  return new NativeError("eventfd", name, `cannot make an event descriptor (${name}): raise "ulimit -n"`)
}

/** Wakes whoever polls the descriptor; signals add up until it is drained. */
export const signalEventFd = (fd: number): void => {
  view.setUint32(0, 1, true)
  view.setUint32(4, 0, true)
  libc.write(fd, pointer, 8)
}

/** What `fd` is open for is from now on at `number`, too, in one step; what was open there is closed. */
export const moveDescriptor = (fd: number, number: number): NativeError | undefined => {
  if (libc.dup3(fd, number, O_CLOEXEC) < 0) {
    const name = lastErrno()
    return closing(
      fd,
      new NativeError("dup3", name, `cannot put a descriptor in the place of another: dup3 failed with ${name}`)
    )
  }
  libc.close(fd)
  return undefined
}

export const close = (fd: number): void => {
  libc.close(fd)
}

/** Lets the socket talk through one interface only (SO_BINDTODEVICE). */
const bindToDevice = (fd: number, name: string): NativeError | undefined => {
  scratch.fill(0)
  for (let i = 0; i < Math.min(name.length, 15); i++) scratch[i] = name.charCodeAt(i) & 0x7f
  return libc.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, pointer, 16) < 0
    ? bindToDeviceError(lastErrno(), name)
    : undefined
}

const O_RDWR = 2
const O_NONBLOCK = 0x800
const O_CLOEXEC = 0x80000
const IFF_TUN = 1
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const TUNSETIFF = 0x400454ca
const TUNSETOFFLOAD = 0x400454d0
/** TUN_F_CSUM, TSO4, TSO6, TSO_ECN. */
const TUN_F_TCP = 0x0f
/** TUN_F_USO4, USO6. */
const TUN_F_USO = 0x60
const SOL_UDP = 17
const UDP_SEGMENT = 103
const UDP_GRO = 104
const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_BINDTODEVICE = 25
const SO_MARK = 36
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const IPPROTO_IP = 0
const IP_PKTINFO = 8
const IP_MTU_DISCOVER = 10
const IP_RECVTOS = 13
const IP_PMTUDISC_DONT = 0
const IPPROTO_IPV6 = 41
const IPV6_MTU_DISCOVER = 23
const IPV6_V6ONLY = 26
const IPV6_RECVPKTINFO = 49
const IPV6_RECVTCLASS = 66

const native = makeMemory(1)
const scratchOffset = native.arena.reserve(64)
const scratch = native.arena.bytes.subarray(scratchOffset, scratchOffset + 64)
const view = new DataView(native.memory.buffer, scratchOffset, 64)
const pointer = native.base + scratchOffset
const lengthOffset = 48

const lastErrno = (): string => errnoName(errno())

const closing = (fd: number, error: NativeError): NativeError => {
  libc.close(fd)
  return error
}

const setOption = (fd: number, level: number, option: number, value: number): boolean => {
  view.setInt32(0, value, true)
  return libc.setsockopt(fd, level, option, pointer, 4) === 0
}

/** The kernel reports twice what was asked for, bookkeeping included. */
const bufferSize = (fd: number, option: number): number => {
  view.setUint32(lengthOffset, 4, true)
  return libc.getsockopt(fd, SOL_SOCKET, option, pointer, pointer + lengthOffset) < 0 ? 0 : view.getInt32(0, true) / 2
}

const grow = (fd: number, wanted: number): string | null => {
  const missing: Array<string> = []
  for (const [force, plain, sysctl] of [
    [SO_RCVBUFFORCE, SO_RCVBUF, "net.core.rmem_max"],
    [SO_SNDBUFFORCE, SO_SNDBUF, "net.core.wmem_max"]
  ] as const) {
    if (!setOption(fd, SOL_SOCKET, force, wanted)) setOption(fd, SOL_SOCKET, plain, wanted)
    if (bufferSize(fd, plain) < wanted) missing.push(`${sysctl}=${wanted}`)
  }
  return missing.length === 0
    ? null
    : `UDP socket buffers are smaller than ${wanted} bytes, so bursts may be lost: run "sysctl -w ${missing.join(" ")}" or grant CAP_NET_ADMIN`
}
