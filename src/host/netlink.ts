/**
 * The few netlink messages that a look at the host takes: requests as bytes, answers as values. Layouts: rtnetlink(7),
 * `linux/rtnetlink.h`, `linux/netconf.h`. Integers are of the host's order: little-endian.
 */
import {
  contains,
  formatAddress,
  isIpv4,
  type Network,
  parseAddress,
  readIpv4,
  readIpv6,
  type Words,
  words,
  writeAddress
} from "../packet/address.ts"

/** One message without its header. */
export interface NetlinkMessage {
  readonly type: number
  readonly body: Uint8Array
}

export interface NetlinkRequest {
  readonly type: number
  /** All there is of the kind (NLM_F_DUMP) instead of one answer. */
  readonly dump: boolean
  readonly body: Uint8Array
}

export interface Link {
  readonly index: number
  readonly name: string
  readonly up: boolean
  readonly mtu: number
  readonly queue: number
}

/** Where packets to an address go. */
export interface RouteTaken {
  /** Index of the device; 0 without one. */
  readonly device: number
  /** Length of the route's own prefix. */
  readonly prefix: number
  /** Preferred source address, canonical text; `null`: none is set. */
  readonly source: string | null
}

const headerLength = 16

/** The bytes of a request. `sequence` comes back in its answers. */
export const encodeRequest = ({ body, dump, type }: NetlinkRequest, sequence: number): Uint8Array => {
  const bytes = new Uint8Array(headerLength + body.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0), true)
  view.setUint32(8, sequence, true)
  bytes.set(body, headerLength)
  return bytes
}

/** The messages of one read; a torn one ends the list. */
export const decodeMessages = (bytes: Uint8Array): ReadonlyArray<NetlinkMessage & { readonly sequence: number }> => {
  const view = viewOf(bytes)
  const messages: Array<NetlinkMessage & { readonly sequence: number }> = []
  for (let at = 0; at + headerLength <= bytes.length;) {
    const length = view.getUint32(at, true)
    if (length < headerLength || at + length > bytes.length) break
    messages.push({
      type: view.getUint16(at + 4, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.slice(at + headerLength, at + length)
    })
    at += aligned(length)
  }
  return messages
}

/** Ends the answer to a request for all. */
export const NLMSG_DONE = 3
/** Its body begins with the negative error number; 0 is a plain yes. */
export const NLMSG_ERROR = 2

/** The device of this name. */
export const linkByName = (name: string): NetlinkRequest => ({
  type: RTM_GETLINK,
  dump: false,
  body: concat(new Uint8Array(16), textAttribute(IFLA_IFNAME, name))
})

/** The device of this index. */
export const linkByIndex = (index: number): NetlinkRequest => {
  const body = new Uint8Array(16)
  viewOf(body).setInt32(4, index, true)
  return { type: RTM_GETLINK, dump: false, body }
}

export const readLink = ({ body, type }: NetlinkMessage): Link | undefined => {
  if (type !== RTM_NEWLINK || body.length < 16) return undefined
  const view = viewOf(body)
  const found = attributes(body, 16)
  return {
    index: view.getInt32(4, true),
    name: textOf(found.get(IFLA_IFNAME)),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    mtu: integer(found.get(IFLA_MTU)),
    queue: integer(found.get(IFLA_TXQLEN))
  }
}

/** The addresses of one family on the device; an old kernel tells those of all devices. */
export const addressesOn = (index: number, family: 4 | 6): NetlinkRequest => {
  const body = new Uint8Array(8)
  body[0] = family === 4 ? AF_INET : AF_INET6
  viewOf(body).setUint32(4, index, true)
  return { type: RTM_GETADDR, dump: true, body }
}

/** `address/prefix`, canonical, and its device's index. */
export const readAddress = ({
  body,
  type
}: NetlinkMessage): { readonly index: number; readonly address: string } | undefined => {
  if (type !== RTM_NEWADDR || body.length < 8) return undefined
  const found = attributes(body, 8)
  const address = addressText(found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS))
  if (address === undefined) return undefined
  return { index: viewOf(body).getUint32(4, true), address: `${address}/${body[1]}` }
}

/** The route that packets to this address take, as it stands in its table (RTM_F_FIB_MATCH). */
export const routeTo = (address: string): NetlinkRequest => {
  const to = parseAddress(address) ?? words()
  const bytes = new Uint8Array(16)
  const length = writeAddress(bytes, 0, to)
  const body = new Uint8Array(12)
  body[0] = length === 4 ? AF_INET : AF_INET6
  body[1] = length * 8
  viewOf(body).setUint32(8, RTM_F_FIB_MATCH, true)
  return { type: RTM_GETROUTE, dump: false, body: concat(body, attribute(RTA_DST, bytes.slice(0, length))) }
}

export const readRoute = ({ body, type }: NetlinkMessage): RouteTaken | undefined => {
  if (type !== RTM_NEWROUTE || body.length < 12) return undefined
  const found = attributes(body, 12)
  return {
    device: integer(found.get(RTA_OIF)),
    prefix: body[1]!,
    source: addressText(found.get(RTA_PREFSRC)) ?? null
  }
}

/** Which devices forward packets of the family. */
export const forwardingOf = (family: 4 | 6): NetlinkRequest => ({
  type: RTM_GETNETCONF,
  dump: true,
  body: Uint8Array.of(family === 4 ? AF_INET : AF_INET6, 0, 0, 0)
})

/** By the index of the device; negative ones mean all devices, and new ones. */
export const readForwarding = ({
  body,
  type
}: NetlinkMessage): { readonly index: number; readonly on: boolean } | undefined => {
  if (type !== RTM_NEWNETCONF) return undefined
  const found = attributes(body, 4)
  const index = found.get(NETCONFA_IFINDEX)
  const forwarding = found.get(NETCONFA_FORWARDING)
  if (index === undefined || forwarding === undefined) return undefined
  return { index: viewOf(index).getInt32(0, true), on: integer(forwarding) !== 0 }
}

/**
 * Whether the host's own addresses, where it reaches the world from, or what it uses of these ranges may be others after
 * this event. A router has a million other routes.
 */
export const isMove = ({ body, type }: NetlinkMessage, ranges: ReadonlyArray<Network>): boolean => {
  if (type === RTM_NEWADDR || type === RTM_DELADDR || type === RTM_NEWRULE || type === RTM_DELRULE) return true
  if (type !== RTM_NEWROUTE && type !== RTM_DELROUTE) return false
  const to = addressWords(attributes(body, 12).get(RTA_DST))
  if (to === undefined) return true
  const prefix = body[1]! + (isIpv4(to) ? 96 : 0)
  return ranges.some((range) => contains({ ...range, prefix: Math.min(prefix, range.prefix) }, to))
}

/** What `bind` takes to be told of links, addresses, routes, rules and forwarding (RTNLGRP_* as bits). */
export const watchedGroups = [1, 5, 7, 8, 9, 11, 19, 24, 25].reduce((mask, group) => mask | (1 << (group - 1)), 0) >>> 0

const NLM_F_REQUEST = 1
const NLM_F_DUMP = 0x300
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_GETADDR = 22
const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const RTM_GETROUTE = 26
const RTM_NEWRULE = 32
const RTM_DELRULE = 33
const RTM_NEWNETCONF = 80
const RTM_GETNETCONF = 82
const RTM_F_FIB_MATCH = 0x2000
const AF_INET = 2
const AF_INET6 = 10
const IFF_UP = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_TXQLEN = 13
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const RTA_DST = 1
const RTA_OIF = 4
const RTA_PREFSRC = 7
const NETCONFA_IFINDEX = 1
const NETCONFA_FORWARDING = 2

const aligned = (length: number): number => (length + 3) & ~3

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const concat = (first: Uint8Array, second: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(first.length + second.length)
  whole.set(first)
  whole.set(second, first.length)
  return whole
}

export const attribute = (type: number, value: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(aligned(4 + value.length))
  const view = viewOf(bytes)
  view.setUint16(0, 4 + value.length, true)
  view.setUint16(2, type, true)
  bytes.set(value, 4)
  return bytes
}

export const textAttribute = (type: number, text: string): Uint8Array =>
  attribute(type, new TextEncoder().encode(`${text}\0`))

/** Up to its zero. */
export const textOf = (bytes: Uint8Array = new Uint8Array(0)): string =>
  String.fromCharCode(...bytes).replace(/\0.*$/s, "")

/** By type, without the flags in it. */
export const attributes = (body: Uint8Array, from: number): ReadonlyMap<number, Uint8Array> =>
  new Map(listAttributes(body, from))

/** Where one type may come many times. */
export const listAttributes = (
  body: Uint8Array,
  from: number
): ReadonlyArray<readonly [type: number, value: Uint8Array]> => {
  const view = viewOf(body)
  const found: Array<readonly [number, Uint8Array]> = []
  for (let at = from; at + 4 <= body.length;) {
    const length = view.getUint16(at, true)
    if (length < 4 || at + length > body.length) break
    found.push([view.getUint16(at + 2, true) & 0x3fff, body.subarray(at + 4, at + length)])
    at += aligned(length)
  }
  return found
}

const integer = (value: Uint8Array | undefined): number =>
  value === undefined || value.length < 4 ? 0 : viewOf(value).getUint32(0, true)

const addressText = (bytes: Uint8Array | undefined): string | undefined => {
  const address = addressWords(bytes)
  return address === undefined ? undefined : formatAddress(address)
}

export const addressWords = (bytes: Uint8Array | undefined): Words | undefined => {
  const address = words()
  if (bytes?.length === 4) readIpv4(bytes, 0, address)
  else if (bytes?.length === 16) readIpv6(bytes, 0, address)
  else return undefined
  return address
}
