import { formatAddress, mappedPrefix, words } from "../packet/address.ts"
import { concat } from "../packet/bytes.ts"
import type { Edns, Malformed, Message, Question, RecordData, ResourceRecord } from "./message.ts"
import { type NameProblem, readName } from "./name.ts"
import { rawLayout } from "./rawLayout.ts"
import { classInternet, recordType } from "./registry.ts"

/** More do not fit into 64 KiB: a record has 11 bytes at least. Names of headless services have thousands of addresses. */
const defaultMaxRecords = 6_000

/** 64 KiB hold no more: each takes at least 11 bytes. */
const maxAnswerRecords = 5957

/**
 * Reads a whole message, strictly: every count, length and pointer must hold and nothing may follow the last record.
 * Any bytes give a value.
 */
export const decode = (bytes: Uint8Array, maxRecords = defaultMaxRecords): Message | Malformed =>
  read(bytes, maxRecords, false)

/**
 * Reads an upstream server's answer as far as it can be used, as glibc does: the answer section must hold, what comes
 * behind it is taken up to the first thing that is wrong. A truncated answer may end within its answer section.
 */
export const decodeAnswer = (bytes: Uint8Array): Message | Malformed => read(bytes, maxAnswerRecords, true)

const read = (bytes: Uint8Array, maxRecords: number, lenient: boolean): Message | Malformed => {
  if (bytes.length < 12) return malformed("HeaderTruncated")
  const reader = new Reader(bytes)
  const id = reader.u16()
  const flags = reader.u16()
  const counts = [reader.u16(), reader.u16(), reader.u16(), reader.u16()] as const
  if (counts[0] + counts[1] + counts[2] + counts[3] > maxRecords) return malformed("TooManyRecords")

  const questions: Array<Question> = []
  for (let i = 0; i < counts[0] && reader.problem === null; i++) {
    questions.push({ name: reader.name(), type: reader.u16(), class: reader.u16() })
  }
  const section = (count: number): Array<ResourceRecord> => {
    const records: Array<ResourceRecord> = []
    for (let i = 0; i < count && reader.problem === null; i++) records.push(readRecord(reader))
    if (reader.problem !== null) records.pop()
    return records
  }
  if (reader.problem !== null) return malformed(reader.problem)
  const answers = section(counts[1])
  if (reader.problem !== null && !(lenient && (flags & 0x0200) !== 0)) return malformed(reader.problem)
  const authorities = section(counts[2])
  let edns: Edns | null = null
  let extendedRcode = 0
  const additionals: Array<ResourceRecord> = []
  for (let i = 0; i < counts[3] && reader.problem === null; i++) {
    const start = reader.at
    const record = readRecord(reader)
    if (record.type !== recordType.OPT) {
      if (reader.problem === null) additionals.push(record)
      continue
    }
    if (reader.problem !== null) break
    const options = record.data._tag === "Raw" ? readOptions(record.data.bytes) : null
    if (edns !== null || bytes[start] !== 0 || options === null) {
      if (lenient) continue
      return malformed("BadEdns")
    }
    // The owner is one byte, so the TTL's four bytes, which carry no TTL here, start at 5.
    extendedRcode = bytes[start + 5]!
    edns = {
      udpPayloadSize: record.class,
      version: bytes[start + 6]!,
      dnssecOk: (bytes[start + 7]! & 0x80) !== 0,
      options
    }
  }
  if (reader.problem !== null && !lenient) return malformed(reader.problem)
  if (answers.some(isOpt) || authorities.some(isOpt)) return malformed("BadEdns")
  if (reader.at !== bytes.length && !lenient) return malformed("TrailingBytes")
  return {
    id,
    response: (flags & 0x8000) !== 0,
    opcode: (flags >>> 11) & 15,
    authoritative: (flags & 0x0400) !== 0,
    truncated: (flags & 0x0200) !== 0,
    recursionDesired: (flags & 0x0100) !== 0,
    recursionAvailable: (flags & 0x0080) !== 0,
    authenticData: (flags & 0x0020) !== 0,
    checkingDisabled: (flags & 0x0010) !== 0,
    rcode: (extendedRcode << 4) | (flags & 15),
    questions,
    answers,
    authorities,
    additionals,
    edns
  }
}

/** What can be known of a message whose rest is malformed; `null` below 12 bytes. */
export const decodeHeader = (
  bytes: Uint8Array
): Pick<Message, "id" | "response" | "opcode" | "truncated" | "recursionDesired"> | null =>
  bytes.length < 12
    ? null
    : {
        id: (bytes[0]! << 8) | bytes[1]!,
        response: (bytes[2]! & 0x80) !== 0,
        opcode: (bytes[2]! >>> 3) & 15,
        truncated: (bytes[2]! & 2) !== 0,
        recursionDesired: (bytes[2]! & 1) !== 0
      }

const malformed = (reason: Malformed["reason"]): Malformed => ({ _tag: "Malformed", reason })

const isOpt = (record: ResourceRecord): boolean => record.type === recordType.OPT

const readRecord = (reader: Reader): ResourceRecord => {
  const name = reader.name()
  const type = reader.u16()
  const klass = reader.u16()
  const ttl = reader.u32()
  const length = reader.u16()
  const end = reader.at + length
  if (end > reader.bytes.length) reader.fail("RecordTruncated")
  const data = reader.problem === null ? readData(reader, type, klass, end) : none
  if (reader.problem === null && reader.at !== end) reader.fail("BadRecordData")
  return { name, type, class: klass, ttl: ttl > 0x7fffffff ? 0 : ttl, data }
}

const noBytes = new Uint8Array(0)
const none: RecordData = { _tag: "Raw", bytes: noBytes }

const readData = (reader: Reader, type: number, klass: number, end: number): RecordData => {
  if (klass === classInternet) {
    switch (type) {
      case recordType.A: {
        if (end - reader.at !== 4) reader.fail("BadRecordData")
        return { _tag: "Address", address: formatAddress(words(0, 0, mappedPrefix, reader.u32())) }
      }
      case recordType.AAAA: {
        if (end - reader.at !== 16) reader.fail("BadRecordData")
        return {
          _tag: "Address",
          address: formatAddress(words(reader.u32(), reader.u32(), reader.u32(), reader.u32()))
        }
      }
      case recordType.CNAME:
      case recordType.PTR:
        return { _tag: "Name", name: reader.name() }
      case recordType.SOA:
        return {
          _tag: "Soa",
          mname: reader.name(),
          rname: reader.name(),
          serial: reader.u32(),
          refresh: reader.u32(),
          retry: reader.u32(),
          expire: reader.u32(),
          minimum: reader.u32()
        }
    }
  }
  return { _tag: "Raw", bytes: readRaw(reader, rawLayout(type), end) }
}

/** Takes the RDATA over; names of the types that may compress them (RFC 3597 §4) are written out. */
const readRaw = (reader: Reader, layout: ReadonlyArray<number | "name" | "string">, end: number): Uint8Array => {
  // A copy: the message outlives the receive buffer.
  if (layout.length === 0) return reader.take(end - reader.at)
  const parts: Array<Uint8Array> = []
  for (const part of layout) {
    if (part === "name") parts.push(reader.expandedName())
    else parts.push(reader.take(part === "string" ? 1 + (reader.bytes[reader.at] ?? 0) : part))
    if (reader.problem === null && reader.at > end) reader.fail("BadRecordData")
    if (reader.problem !== null) return new Uint8Array(0)
  }
  parts.push(reader.take(end - reader.at))
  return concat(parts)
}

const readOptions = (bytes: Uint8Array): Edns["options"] | null => {
  const options: Array<{ readonly code: number; readonly data: Uint8Array }> = []
  const reader = new Reader(bytes)
  while (reader.at < bytes.length) {
    const code = reader.u16()
    const data = reader.take(reader.u16())
    if (reader.problem !== null) return null
    options.push({ code, data })
  }
  return options
}

/** After the first problem all reads give zeros, so that callers check once. */
class Reader {
  readonly bytes: Uint8Array
  at = 0
  problem: NameProblem | "RecordTruncated" | "BadRecordData" | null = null
  readonly #cursor = { end: 0 }

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  fail(problem: NameProblem | "RecordTruncated" | "BadRecordData"): void {
    this.problem ??= problem
  }

  u16(): number {
    if (this.at + 2 > this.bytes.length) this.fail("RecordTruncated")
    if (this.problem !== null) return 0
    const value = (this.bytes[this.at]! << 8) | this.bytes[this.at + 1]!
    this.at += 2
    return value
  }

  u32(): number {
    return this.u16() * 0x10000 + this.u16()
  }

  take(length: number): Uint8Array {
    if (this.at + length > this.bytes.length) this.fail("RecordTruncated")
    if (this.problem !== null || length === 0) return noBytes
    this.at += length
    return this.bytes.slice(this.at - length, this.at)
  }

  name(): string {
    if (this.problem !== null) return "."
    const name = readName(this.bytes, this.at, this.#cursor)
    if (typeof name !== "string") {
      this.fail(name.problem)
      return "."
    }
    this.at = this.#cursor.end
    return name
  }

  /** The name's wire form without pointers. */
  expandedName(): Uint8Array {
    const parts: Array<Uint8Array> = []
    const start = this.at
    this.name()
    if (this.problem !== null) return new Uint8Array(0)
    for (let at = start; ;) {
      const head = this.bytes[at]!
      if (head >= 0xc0) {
        at = ((head & 0x3f) << 8) | this.bytes[at + 1]!
      } else {
        parts.push(this.bytes.slice(at, at + 1 + head))
        at += 1 + head
        if (head === 0) return concat(parts)
      }
    }
  }
}
