import {
  contains,
  equal,
  isBroadcast,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isIpv4,
  mappedPrefix,
  type Network,
  parseAddress,
  parseNetwork,
  type Words,
  words
} from "../packet/address.ts"
import type { DestinationOptIn } from "../model/Resource.ts"
import { WordsIndex } from "./wordsIndex.ts"

/** Why a destination is refused, in an operator's words. */
export type Refusal =
  | "tunnel range"
  | "proxy range"
  | "unspecified address"
  | "broadcast address"
  | "multicast address"
  | "metadata service"
  | "loopback address"
  | "the gateway's own address"
  | "link-local address"
  | "not a public address"

/** Opt-ins as bits, for `DestinationPolicy.judge`. */
export const optInBits = (allow: ReadonlyArray<DestinationOptIn>): number =>
  allow.reduce((bits, optIn) => bits | optInBit[optIn], 0)

/**
 * Which real addresses a packet may be forwarded to, whatever a name resolved to or a client asked for. Addresses that
 * carry an IPv4 address (mapped, compatible, translated, 6to4, Teredo, NAT64, ISATAP) are judged by that one too. Judging
 * allocates nothing.
 */
export class DestinationPolicy {
  private readonly own = new WordsIndex()
  private readonly broadcasts = new WordsIndex()
  private tunnel: ReadonlyArray<Network> = []
  private proxy: ReadonlyArray<Network> = []
  private foreign: ReadonlyArray<Network> = []

  /** Replaces the addresses of the gateway's host; they are followed live. */
  setOwnAddresses(addresses: ReadonlyArray<Readonly<Words>>): void {
    this.own.clear()
    for (const a of addresses) this.own.set(0, a, 0)
  }

  /** Replaces the directed broadcast addresses (RFC 919) of the networks that the gateway's host is in. */
  setBroadcasts(addresses: ReadonlyArray<Readonly<Words>>): void {
    this.broadcasts.clear()
    for (const a of addresses) this.broadcasts.set(0, a, 0)
  }

  /** Replaces the ranges that no opt-in opens. */
  setRanges(tunnel: ReadonlyArray<Network>, proxy: ReadonlyArray<Network>): void {
    this.tunnel = tunnel
    this.proxy = proxy
  }

  /** Replaces the parts of the ranges that the gateway's host uses for something else: destinations like others. */
  setForeign(networks: ReadonlyArray<Network>): void {
    this.foreign = networks
  }

  /** `undefined`: allowed. */
  judge(a: Readonly<Words>, optIns: number): Refusal | undefined {
    return this.judgePlain(a, optIns) ?? this.judgeCarried(a, optIns, false)
  }

  /** As `judge`, and the Internet resource reaches public addresses only. */
  judgeForInternet(a: Readonly<Words>, optIns: number): Refusal | undefined {
    const refusal = this.judgePlain(a, optIns)
    if (refusal !== undefined) return refusal
    if (privateForInternet(a)) return "not a public address"
    return this.judgeCarried(a, optIns, true)
  }

  private judgePlain(a: Readonly<Words>, optIns: number): Refusal | undefined {
    if (inAny(this.tunnel, a) && !inAny(this.foreign, a)) return "tunnel range"
    if (inAny(this.proxy, a) && !inAny(this.foreign, a)) return "proxy range"
    if (isIpv4(a) ? a.w3 >>> 24 === 0 : (a.w0 | a.w1 | a.w2 | a.w3) === 0) return "unspecified address"
    if (isBroadcast(a) || this.broadcasts.get(0, a) >= 0) return "broadcast address"
    if (isMulticast(a)) return "multicast address"
    if (isMetadata(a)) return (optIns & optInBit.metadata) === 0 ? "metadata service" : undefined
    if (isLoopback(a)) {
      return (optIns & optInBit.loopback) === 0 ? "loopback address" : undefined
    }
    if ((optIns & optInBit.gateway_host) === 0 && this.own.get(0, a) >= 0) return "the gateway's own address"
    return (optIns & optInBit.link_local) === 0 && isLinkLocal(a) ? "link-local address" : undefined
  }

  private judgeCarried(a: Readonly<Words>, optIns: number, internet: boolean): Refusal | undefined {
    if (isIpv4(a)) return undefined
    if (a.w0 === 0 && a.w1 === 0 && (a.w2 === 0 || a.w2 === TRANSLATED)) {
      // ::1 is loopback, judged already; all else in ::/96 is IPv4-compatible.
      return a.w2 === 0 && a.w3 === 1 ? undefined : this.judgeInner(a.w3, optIns, internet)
    }
    if (a.w2 === ISATAP || a.w2 === ISATAP_GLOBAL) {
      const refusal = this.judgeInner(a.w3, optIns, internet)
      if (refusal !== undefined) return refusal
    }
    if (a.w0 >>> 16 === 0x2002) return this.judgeInner((a.w0 << 16) | (a.w1 >>> 16), optIns, internet)
    if (a.w0 === TEREDO) {
      return this.judgeInner(~a.w3, optIns, internet) ?? this.judgeInner(a.w1, optIns, internet)
    }
    if (a.w0 !== NAT64) return undefined
    if (a.w1 === 0 && a.w2 === 0) return this.judgeInner(a.w3, optIns, internet)
    if (a.w1 >>> 16 !== 1) return undefined
    // RFC 8215: the operator chooses the prefix length (RFC 6052 §2.2), which nobody can tell from the address, so all
    // forms that make sense are judged.
    const at48 = (a.w1 << 16) | ((a.w2 >>> 8) & 0xffff)
    const at56 = ((a.w1 & 0xff) << 24) | (a.w2 & 0xffffff)
    const at64 = (a.w2 << 8) | (a.w3 >>> 24)
    const bySuffix = (a.w3 & 0xffffff) !== 0 || (at48 >>> 24 === 0 && at56 >>> 24 === 0 && at64 >>> 24 === 0)
    return (
      (bySuffix ? this.judgeInner(a.w3, optIns, internet) : undefined) ??
      (at48 >>> 24 === 0 ? undefined : this.judgeInner(at48, optIns, internet)) ??
      (at56 >>> 24 === 0 ? undefined : this.judgeInner(at56, optIns, internet)) ??
      (at64 >>> 24 === 0 ? undefined : this.judgeInner(at64, optIns, internet))
    )
  }

  private judgeInner(v4: number, optIns: number, internet: boolean): Refusal | undefined {
    inner.w3 = v4
    return (
      this.judgePlain(inner, optIns) ?? (internet && privateForInternet(inner) ? "not a public address" : undefined)
    )
  }
}

/**
 * Whether an address is not for the Internet resource: IPv4 that is not public (RFC 6890: private, shared,
 * documentation, benchmarking, reserved …), IPv6 outside 2000::/3 and the well-known NAT64 prefix, documentation.
 */
const privateForInternet = (a: Readonly<Words>): boolean =>
  isIpv4(a)
    ? inAny(privateNetworks4, a)
    : !(a.w0 >>> 29 === 1 || (a.w0 === NAT64 && a.w1 === 0 && a.w2 === 0)) || inAny(privateNetworks6, a)

const optInBit = { gateway_host: 1, loopback: 2, link_local: 4, metadata: 8 } as const satisfies Record<
  DestinationOptIn,
  number
>

const TRANSLATED = mappedPrefix << 16
const TEREDO = 0x20010000
const NAT64 = 0x0064ff9b
/** Interface identifiers of ISATAP (RFC 5214 §6.1), under any prefix: the host's IPv4 address stands behind them. */
const ISATAP = 0x00005efe
const ISATAP_GLOBAL = 0x02005efe

const inner = words(0, 0, mappedPrefix, 0)

/**
 * Where clouds hand out a machine's secrets, by their own documentation or programs. 169.254.169.254 is everybody's (AWS,
 * Azure, DigitalOcean, Google, Hetzner, IBM, OpenStack, Oracle, Vultr).
 */
const metadataServices = [
  "169.254.169.254",
  // AWS: instances over IPv6 (EC2 user guide, "Access instance metadata").
  "fd00:ec2::254",
  // AWS: task credentials of ECS; pod credentials of EKS ("EKS Pod Identity").
  "169.254.170.2",
  "169.254.170.23",
  "fd00:ec2::23",
  // Azure: the host's agent ("What is IP address 168.63.129.16?").
  "168.63.129.16",
  // Google: instances with IPv6 only ("Query VM metadata").
  "fd20:ce::254",
  // Alibaba Cloud ECS; over IPv6 (their cloud-init issue 6892).
  "100.100.100.200",
  "fd00:100::100:200",
  // Oracle: Compute Classic; OCI over IPv6 (oci-python-sdk).
  "192.0.0.192",
  "fd00:c1::a9fe:a9fe",
  // OpenStack over IPv6 (Neutron, "Metadata service over IPv6"), clouds made of it, and Akamai.
  "fe80::a9fe:a9fe",
  // Scaleway.
  "169.254.42.42",
  "fd00:42::42",
  // Tencent Cloud (metadata.tencentyun.com).
  "169.254.0.23",
  // Akamai (Linode) over IPv6 ("Metadata service API").
  "fd00:a9fe:a9fe::1"
].map((text) => parseAddress(text)!)

const isMetadata = (a: Readonly<Words>): boolean => {
  for (let i = 0; i < metadataServices.length; i++) {
    if (equal(metadataServices[i]!, a)) return true
  }
  return false
}

const inAny = (networks: ReadonlyArray<Network>, a: Readonly<Words>): boolean => {
  for (let i = 0; i < networks.length; i++) {
    if (contains(networks[i]!, a)) return true
  }
  return false
}

const privateNetworks4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3"
].map((text) => parseNetwork(text)!)

const privateNetworks6 = ["2001:db8::/32", "3fff::/20"].map((text) => parseNetwork(text)!)
