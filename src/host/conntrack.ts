/** Flows as the kernel's connection tracking knows them, over netlink (`linux/netfilter/nfnetlink_conntrack.h`). */
import { contains, type Network, type Words } from "../packet/address.ts"
import { addressWords, attribute, attributes, type NetlinkMessage, type NetlinkRequest, viewOf } from "./netlink.ts"

/** All flows of a family. */
export const flowsOf = (family: 4 | 6): NetlinkRequest => ({
  type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET,
  dump: true,
  body: Uint8Array.of(family === 4 ? AF_INET : AF_INET6, 0, 0, 0)
})

/**
 * The request that has the kernel forget this flow, if it comes from one of the `inside` networks, goes out of them, and
 * keeps its source: it began while nothing masqueraded, and would stay so for as long as it goes on.
 */
export const forgetUntranslated = (
  { body, type }: NetlinkMessage,
  inside: ReadonlyArray<Network>
): NetlinkRequest | undefined => {
  if (type !== NFNL_SUBSYS_CTNETLINK << 8 || body.length < 4) return undefined
  const found = attributes(body, 4)
  const original = found.get(CTA_TUPLE_ORIG)
  const status = found.get(CTA_STATUS)
  if (original === undefined || status?.length !== 4) return undefined
  if ((viewOf(status).getUint32(0, false) & IPS_SRC_NAT) !== 0) return undefined
  const ends = attributes(attributes(original, 0).get(CTA_TUPLE_IP) ?? new Uint8Array(0), 0)
  const isInside = (end: Words | undefined): boolean =>
    end !== undefined && inside.some((network) => contains(network, end))
  const source = addressWords(ends.get(CTA_IP_V4_SRC) ?? ends.get(CTA_IP_V6_SRC))
  const destination = addressWords(ends.get(CTA_IP_V4_DST) ?? ends.get(CTA_IP_V6_DST))
  if (!isInside(source) || isInside(destination)) return undefined
  const zone = found.get(CTA_ZONE)
  return {
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE,
    dump: false,
    body: Uint8Array.of(
      ...body.subarray(0, 4),
      ...attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, original),
      ...(zone === undefined ? [] : attribute(CTA_ZONE, zone))
    )
  }
}

const NFNL_SUBSYS_CTNETLINK = 1
const IPCTNL_MSG_CT_GET = 1
const IPCTNL_MSG_CT_DELETE = 2
const NLA_F_NESTED = 0x8000
const CTA_TUPLE_ORIG = 1
const CTA_STATUS = 3
const CTA_ZONE = 18
const CTA_TUPLE_IP = 1
const CTA_IP_V4_SRC = 1
const CTA_IP_V4_DST = 2
const CTA_IP_V6_SRC = 3
const CTA_IP_V6_DST = 4
const IPS_SRC_NAT = 16
const AF_INET = 2
const AF_INET6 = 10
