/** Generators of DNS names and messages. */
import * as Arbitrary from "effect/Arbitrary"
import type { Edns, Message, RecordData, ResourceRecord } from "../../src/dns/message.ts"
import { classInternet, recordType } from "../../src/dns/registry.ts"
import { bytes, host4, host6, integer } from "./packetArbitraries.ts"

const letters = "abcXYZ019-_"

/** Mostly hosts' labels, now and then any bytes or one at the limit of 63. */
const label: Arbitrary.Arbitrary<string> = Arbitrary.all([
  integer(0, 19),
  Arbitrary.array(integer(0, letters.length - 1), { minLength: 1, maxLength: 12 }),
  Arbitrary.array(integer(0, 255), { minLength: 1, maxLength: 6 })
]).pipe(
  Arbitrary.map(([kind, plain, odd]) => {
    if (kind === 0) return "x".repeat(63)
    if (kind === 1) return odd.map(escaped).join("")
    return plain.map((i) => letters[i]!).join("")
  })
)

const escaped = (byte: number): string => {
  if (byte === 0x2e || byte === 0x5c) return `\\${String.fromCharCode(byte)}`
  return byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, "0")}`
}

/** At most 3 labels of 63 in front of short ends, so always within 255; ends repeat, so that compression has work. */
export const domainName: Arbitrary.Arbitrary<string> = Arbitrary.all([
  Arbitrary.array(label, { maxLength: 3 }),
  integer(0, 4)
]).pipe(
  Arbitrary.map(([labels, end]) => {
    const all = [...labels, ...[[], ["test"], ["corp", "test"], ["Corp", "test"], ["a", "corp", "test"]][end]!]
    return all.length === 0 ? "." : all.join(".")
  })
)

/** A name that dns-packet can hold as well: no dots or odd bytes in labels. */
export const plainName: Arbitrary.Arbitrary<string> = domainName.pipe(
  Arbitrary.filter((name) => name !== "." && !name.includes("\\"))
)

const ttl = integer(-4, 0x7fffffff).pipe(Arbitrary.map((n) => (n < 0 ? -1 - n : n)))

const u16 = integer(0, 0xffff)
const u32 = integer(0, 0xffffffff)

const dataOf = (kind: number, parts: DataParts): { readonly type: number; readonly data: RecordData } => {
  switch (kind) {
    case 0:
      return { type: recordType.A, data: { _tag: "Address", address: parts.v4 } }
    case 1:
      return { type: recordType.AAAA, data: { _tag: "Address", address: parts.v6 } }
    case 2:
      return { type: recordType.CNAME, data: { _tag: "Name", name: parts.name } }
    case 3:
      return { type: recordType.PTR, data: { _tag: "Name", name: parts.name } }
    case 4: {
      const { expire, minimum, name: mname, other: rname, refresh, retry, serial } = parts
      return {
        type: recordType.SOA,
        data: { _tag: "Soa", mname, rname, serial, refresh, retry, expire, minimum }
      }
    }
  }
  // 65400 is unassigned, so the bytes are opaque.
  return { type: kind === 5 ? recordType.TXT : 65_400, data: { _tag: "Raw", bytes: parts.raw } }
}

interface DataParts {
  readonly v4: string
  readonly v6: string
  readonly name: string
  readonly other: string
  readonly raw: Uint8Array
  readonly serial: number
  readonly refresh: number
  readonly retry: number
  readonly expire: number
  readonly minimum: number
}

const parts = (name: Arbitrary.Arbitrary<string>): Arbitrary.Arbitrary<DataParts> =>
  Arbitrary.all({
    v4: host4,
    v6: host6,
    name,
    other: name,
    raw: bytes(40),
    serial: u32,
    refresh: u32,
    retry: u32,
    expire: u32,
    minimum: u32
  })

export const resourceRecord = (
  name: Arbitrary.Arbitrary<string> = domainName,
  kinds = 6
): Arbitrary.Arbitrary<ResourceRecord> =>
  Arbitrary.all([name, integer(0, kinds), parts(name), ttl]).pipe(
    Arbitrary.map(([owner, kind, data, seconds]) => ({
      name: owner,
      class: classInternet,
      ttl: seconds,
      ...dataOf(kind, data)
    }))
  )

const edns: Arbitrary.Arbitrary<Edns | null> = Arbitrary.all([
  integer(0, 2),
  u16,
  integer(0, 1),
  Arbitrary.array(Arbitrary.all([u16, bytes(12)]), { maxLength: 3 })
]).pipe(
  Arbitrary.map(([present, size, dnssecOk, options]) =>
    present === 0
      ? null
      : {
          udpPayloadSize: size,
          version: present - 1,
          dnssecOk: dnssecOk === 1,
          options: options.map(([code, data]) => ({ code, data }))
        }
  )
)

/** Messages that can be put on the wire. */
export const dnsMessage: Arbitrary.Arbitrary<Message> = Arbitrary.all({
  id: u16,
  flags: integer(0, 255),
  opcode: integer(0, 15),
  rcode: integer(0, 4095),
  questions: Arbitrary.array(Arbitrary.all({ name: domainName, type: u16, class: u16 }), { maxLength: 2 }),
  answers: Arbitrary.array(resourceRecord(), { maxLength: 5 }),
  authorities: Arbitrary.array(resourceRecord(), { maxLength: 2 }),
  additionals: Arbitrary.array(resourceRecord(), { maxLength: 2 }),
  edns
}).pipe(
  Arbitrary.map(({ flags, rcode, ...rest }) => ({
    ...rest,
    rcode: rest.edns === null ? rcode & 15 : rcode,
    response: (flags & 1) !== 0,
    authoritative: (flags & 2) !== 0,
    truncated: (flags & 4) !== 0,
    recursionDesired: (flags & 8) !== 0,
    recursionAvailable: (flags & 16) !== 0,
    authenticData: (flags & 32) !== 0,
    checkingDisabled: (flags & 64) !== 0
  }))
)
