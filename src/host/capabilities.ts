/** What of the superuser's power a gateway keeps (capabilities(7)): one bit each, as the kernel counts them. */

const capability = {
  dacOverride: 1n << 1n,
  dacReadSearch: 1n << 2n,
  fowner: 1n << 3n,
  netBindService: 1n << 10n,
  netAdmin: 1n << 12n,
  netRaw: 1n << 13n,
  sysNice: 1n << 23n
} as const

/** A file or directory that the process will use. */
export interface FileFacts {
  readonly uid: number
  readonly mode: number
}

/** A path that the process will use: the directories on the way to it, and what is there, if anything is. */
export interface PathFacts {
  readonly way: ReadonlyArray<FileFacts>
  readonly end: FileFacts | null
  /** Written to as well. */
  readonly written: boolean
}

/**
 * TUN device, addresses, routes, firewall and marks; ports below 1024; the packet worker's scheduling. Sockets that are
 * bound to a device need more before Linux 5.7; files that belong to others need more where their owner lets nobody in.
 */
export const neededCapabilities = (uid: number, kernel: string, paths: ReadonlyArray<PathFacts>): bigint => {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10))
  const old = major < 5 || (major === 5 && minor < 7)
  const foreign = ({ uid: owner }: FileFacts): boolean => owner !== uid
  const writes = paths.some(({ end, written }) => written && end !== null && foreign(end))
  const reads = paths.some(
    ({ end, way }) =>
      way.some((directory) => foreign(directory) && (directory.mode & 0o001) === 0) ||
      (end !== null && foreign(end) && (end.mode & 0o004) === 0)
  )
  return (
    capability.netAdmin |
    capability.netBindService |
    capability.sysNice |
    (old ? capability.netRaw : 0n) |
    (writes ? capability.dacOverride | capability.fowner : 0n) |
    (reads ? capability.dacReadSearch : 0n)
  )
}

/** The absolute paths in a text. */
export const pathsIn = (text: string): ReadonlyArray<string> =>
  (text.match(/(?<![\w:/+.-])\/[\w./@%+-]+/g) ?? []).slice(0, 1_000)

/** What `/proc/self/status` says of the process. */
export interface HeldPrivileges {
  readonly permitted: bigint
  readonly bounding: bigint
  readonly noNewPrivileges: boolean
}

export const heldPrivileges = (status: string): HeldPrivileges => {
  const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)$`, "m").exec(status)?.[1] ?? "0"
  return {
    permitted: BigInt(`0x${field("CapPrm")}`),
    bounding: BigInt(`0x${field("CapBnd")}`),
    noNewPrivileges: field("NoNewPrivs") === "1"
  }
}
