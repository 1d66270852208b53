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
const NFT_MSG_NEWTABLE = 0
const NFT_MSG_GETTABLE = 1
const NFT_MSG_NEWCHAIN = 3
const NFT_MSG_GETCHAIN = 4
const NFT_MSG_NEWRULE = 6
const NFT_MSG_GETRULE = 7
const NFT_MSG_NEWSET = 9
const NFT_MSG_GETSET = 10
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

/** The table of family `inet` with this name. */
export const tableNamed = (table: string): NetlinkRequest => ({
  type: kind(NFT_MSG_GETTABLE),
  dump: false,
  body: concat(ofInet, textAttribute(NFTA_TABLE, table))
})

const allOf = (message: number, table: string): NetlinkRequest => ({
  type: kind(message),
  dump: true,
  body: concat(ofInet, textAttribute(NFTA_TABLE, table))
})

/** All that the table is made of, but the elements of its sets. Old kernels tell more, of other tables. */
export const partsOf = (table: string): ReadonlyArray<NetlinkRequest> =>
  [NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETOBJ].map((message) => allOf(message, table))

/** One of these as text, without what counts or differs from one making to the next; `undefined`: of another table. */
export const readPart = (table: string, { body, type }: NetlinkMessage): string | undefined => {
  const lasting = lastingAttributes.get(type)
  if (lasting === undefined) return undefined
  const found = attributes(body, 4)
  if (textOf(found.get(NFTA_TABLE)) !== table) return undefined
  const isCounter = type === kind(NFT_MSG_NEWOBJ) && found.get(NFTA_OBJ_TYPE)?.at(-1) === NFT_OBJECT_COUNTER
  const kept = lasting.filter((attribute) => !(isCounter && attribute === NFTA_OBJ_DATA))
  return [type, ...kept.map((attribute) => hexOf(found.get(attribute)))].join(" ")
}

/** The name of a set of the table, its anonymous ones included. */
export const readSetName = (table: string, { body, type }: NetlinkMessage): string | undefined => {
  const found = type === kind(NFT_MSG_NEWSET) ? attributes(body, 4) : undefined
  return found !== undefined && textOf(found.get(NFTA_TABLE)) === table ? textOf(found.get(NFTA_SET_NAME)) : undefined
}

/** Elements of a set without their counters, as text. */
export const readKeys = ({ body, type }: NetlinkMessage): ReadonlyArray<string> | undefined => {
  if (type !== kind(NFT_MSG_NEWSETELEM)) return undefined
  return listAttributes(attributes(body, 4).get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? nothing, 0).map(([, element]) => {
    const found = attributes(element, 0)
    return [NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY_END]
      .map((attribute) => hexOf(found.get(attribute)))
      .join(" ")
  })
}

const hexOf = (bytes: Uint8Array = nothing): string =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")

/** All named objects of a table of family `inet`. */
export const objectsOf = (table: string): NetlinkRequest => allOf(NFT_MSG_GETOBJ, table)

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
/** Every kind of message has its table's name there. */
const NFTA_TABLE = 1
const NFTA_TABLE_FLAGS = 2
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_CHAIN_FLAGS = 10
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_SET_NAME = 2
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_OBJ_NAME = 2
const NFTA_OBJ_TYPE = 3
const NFTA_OBJ_DATA = 4
const NFT_OBJECT_COUNTER = 1
const NFTA_COUNTER_PACKETS = 2
const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_DATA = 2
const NFTA_SET_ELEM_FLAGS = 3
const NFTA_SET_ELEM_EXPR = 7
const NFTA_SET_ELEM_KEY_END = 10
const NFTA_DATA_VALUE = 1
const NFTA_EXPR_DATA = 2

/** By the kind of what is told: what of it stays as it was made. */
const lastingAttributes: ReadonlyMap<number, ReadonlyArray<number>> = new Map([
  [kind(NFT_MSG_NEWTABLE), [NFTA_TABLE_FLAGS]],
  [kind(NFT_MSG_NEWCHAIN), [NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE, NFTA_CHAIN_FLAGS]],
  [kind(NFT_MSG_NEWRULE), [NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS]],
  [kind(NFT_MSG_NEWSET), [NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE]],
  [kind(NFT_MSG_NEWOBJ), [NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA]]
])
