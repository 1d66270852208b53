/** What nftables is asked over netlink: `linux/netfilter/nf_tables.h`. Its integers are of the network's order. */
import {
  attributes,
  concat,
  listAttributes,
  type NetlinkMessage,
  type NetlinkRequest,
  textAttribute,
  textOf,
  viewOf
} from "./netlink.ts"

const kind = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message
const NFNL_SUBSYS_NFTABLES = 10
const NFT_MSG_NEWSETELEM = 12
const NFT_MSG_GETSETELEM = 13
const NFT_MSG_NEWGEN = 15
const NFT_MSG_GETGEN = 16
const NFT_MSG_NEWOBJ = 18
const NFT_MSG_GETOBJ = 19
/** What each message begins with: a family, `inet` here. */
const ofInet = Uint8Array.of(1, 0, 0, 0)

/** The number that grows with every change of an nftables rule. */
export const rulesGeneration: NetlinkRequest = { type: kind(NFT_MSG_GETGEN), dump: false, body: ofInet }

export const readGeneration = ({ body, type }: NetlinkMessage): number | undefined => {
  if (type !== kind(NFT_MSG_NEWGEN)) return undefined
  const generation = attributes(body, 4).get(NFTA_GEN_ID)
  return generation === undefined || generation.length < 4 ? undefined : viewOf(generation).getUint32(0, false)
}

/** All named objects of a table of family `inet`. */
export const objectsOf = (table: string): NetlinkRequest => ({
  type: kind(NFT_MSG_GETOBJ),
  dump: true,
  body: concat(ofInet, textAttribute(NFTA_OBJ_TABLE, table))
})

/** A named counter. */
export const readCounter = ({
  body,
  type
}: NetlinkMessage): { readonly name: string; readonly packets: number } | undefined => {
  if (type !== kind(NFT_MSG_NEWOBJ)) return undefined
  const found = attributes(body, 4)
  const packets = packetsIn(found.get(NFTA_OBJ_DATA))
  return packets === undefined ? undefined : { name: textOf(found.get(NFTA_OBJ_NAME)), packets }
}

/** All elements of a set. */
export const elementsOf = (table: string, set: string): NetlinkRequest => ({
  type: kind(NFT_MSG_GETSETELEM),
  dump: true,
  body: concat(
    concat(ofInet, textAttribute(NFTA_SET_ELEM_LIST_TABLE, table)),
    textAttribute(NFTA_SET_ELEM_LIST_SET, set)
  )
})

/** An element with a counter. Each part of its key is filled up to four bytes. */
export interface CountedElement {
  readonly key: Uint8Array
  readonly packets: number
}

export const readElements = ({ body, type }: NetlinkMessage): ReadonlyArray<CountedElement> | undefined => {
  if (type !== kind(NFT_MSG_NEWSETELEM)) return undefined
  return listAttributes(attributes(body, 4).get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? nothing, 0).flatMap(([, element]) => {
    const found = attributes(element, 0)
    const key = attributes(found.get(NFTA_SET_ELEM_KEY) ?? nothing, 0).get(NFTA_DATA_VALUE)
    const packets = packetsIn(attributes(found.get(NFTA_SET_ELEM_EXPR) ?? nothing, 0).get(NFTA_EXPR_DATA))
    return key === undefined || packets === undefined ? [] : [{ key, packets }]
  })
}

const packetsIn = (counter: Uint8Array | undefined): number | undefined => {
  const packets = counter === undefined ? undefined : attributes(counter, 0).get(NFTA_COUNTER_PACKETS)
  return packets?.length === 8 ? Number(viewOf(packets).getBigUint64(0, false)) : undefined
}

const nothing = new Uint8Array(0)

const NFTA_GEN_ID = 1
const NFTA_OBJ_TABLE = 1
const NFTA_OBJ_NAME = 2
const NFTA_OBJ_DATA = 4
const NFTA_COUNTER_PACKETS = 2
const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_EXPR = 7
const NFTA_DATA_VALUE = 1
const NFTA_EXPR_DATA = 2
