import { isIpv4, parseAddress } from "../packet/address.ts"
import type { Message, Question, ResourceRecord } from "./message.ts"
import { type DomainText, labelsOf, maxLabelBytes, maxNameBytes, parentName } from "./name.ts"
import { recordType } from "./registry.ts"

/**
 * Writes a message with compressed names. `null` when it cannot be put on the wire: a name or address that is none, a
 * field out of range, an extended rcode without EDNS, more than 65,535 bytes.
 */
export const encode = (message: Message): Uint8Array | null => {
  const { edns } = message
  const sections = [message.questions, message.answers, message.authorities, message.additionals]
  if (sections.some((s) => s.length > 0xffff - 1)) return null
  if (!fits(message.rcode, 4095) || (message.rcode > 15 && edns === null) || !fits(message.opcode, 15)) return null
  const writer = new Writer()
  writer.u16(message.id)
  writer.u16(
    (message.response ? 0x8000 : 0) |
      (message.opcode << 11) |
      (message.authoritative ? 0x0400 : 0) |
      (message.truncated ? 0x0200 : 0) |
      (message.recursionDesired ? 0x0100 : 0) |
      (message.recursionAvailable ? 0x0080 : 0) |
      (message.authenticData ? 0x0020 : 0) |
      (message.checkingDisabled ? 0x0010 : 0) |
      (message.rcode & 15)
  )
  writer.u16(message.questions.length)
  writer.u16(message.answers.length)
  writer.u16(message.authorities.length)
  writer.u16(message.additionals.length + (edns === null ? 0 : 1))
  for (const question of message.questions) writeQuestion(writer, question)
  for (const record of message.answers) writeRecord(writer, record)
  for (const record of message.authorities) writeRecord(writer, record)
  for (const record of message.additionals) writeRecord(writer, record)
  if (edns !== null) {
    if (!fits(edns.version, 255)) writer.bad = true
    writer.name(".")
    writer.u16(recordType.OPT)
    writer.u16(edns.udpPayloadSize)
    writer.u16(((message.rcode >>> 4) << 8) | edns.version)
    writer.u16(edns.dnssecOk ? 0x8000 : 0)
    writer.sized(() => {
      for (const option of edns.options) {
        writer.u16(option.code)
        writer.u16(option.data.length)
        writer.raw(option.data)
      }
    })
  }
  return writer.finish()
}

const fits = (n: number, max: number): boolean => Number.isInteger(n) && n >= 0 && n <= max

const writeQuestion = (writer: Writer, question: Question): void => {
  writer.name(question.name)
  writer.u16(question.type)
  writer.u16(question.class)
}

const writeRecord = (writer: Writer, record: ResourceRecord): void => {
  const { data } = record
  writer.name(record.name)
  writer.u16(record.type)
  writer.u16(record.class)
  writer.u32(record.ttl)
  writer.sized(() => {
    switch (data._tag) {
      case "Address":
        return writer.address(data.address, record.type)
      case "Name":
        return writer.name(data.name)
      case "Soa":
        writer.name(data.mname)
        writer.name(data.rname)
        for (const n of [data.serial, data.refresh, data.retry, data.expire, data.minimum]) writer.u32(n)
        return
      case "Raw":
        return writer.raw(data.bytes)
    }
  })
}

/** What is written is copied out at its end, and a writer never outlives its call. */
let shared = new Uint8Array(4_096)
const mostShared = 0x10000

class Writer {
  /** Something could not be written; the bytes are worthless. */
  bad = false
  #bytes = shared
  #length = 0
  /** Names already written and the names above them, by their exact text, so that the case of each occurrence is kept. */
  readonly #names = new Map<DomainText, { readonly at: number; readonly size: number }>()

  finish(): Uint8Array | null {
    return this.bad || this.#length > 0xffff ? null : this.#bytes.slice(0, this.#length)
  }

  u8(value: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#length * 2)
      larger.set(this.#bytes)
      this.#bytes = larger
      if (larger.length <= mostShared) shared = larger
    }
    this.#bytes[this.#length++] = value
  }

  u16(value: number): void {
    if (!fits(value, 0xffff)) this.bad = true
    this.u8(value >>> 8)
    this.u8(value)
  }

  u32(value: number): void {
    if (!fits(value, 0xffffffff)) this.bad = true
    this.u8(value >>> 24)
    this.u8(value >>> 16)
    this.u8(value >>> 8)
    this.u8(value)
  }

  raw(bytes: Uint8Array): void {
    for (const byte of bytes) this.u8(byte)
  }

  address(text: string, type: number): void {
    const a = parseAddress(text)
    const v4 = type === recordType.A
    if (a === undefined || (type !== recordType.AAAA && !v4) || (v4 && !isIpv4(a))) {
      this.bad = true
      return
    }
    const u32 = (w: number): void => this.u32(w >>> 0)
    if (!v4) for (const w of [a.w0, a.w1, a.w2]) u32(w)
    u32(a.w3)
  }

  /** Takes apart only what was not written before: a hostile answer has a thousand long names that end alike. */
  name(text: DomainText): void {
    const start = this.#length
    let known = this.#names.get(text)
    let size = 0
    let rest = text
    while (known === undefined && rest !== "." && rest !== "") {
      const above = parentName(rest)
      const length = this.label(above === "." ? rest : rest.slice(0, -above.length - 1))
      if (length === 0) {
        this.bad = true
        return
      }
      size += length + 1
      rest = above
      known = this.#names.get(rest)
    }
    size += known?.size ?? 1
    if (size > maxNameBytes) this.bad = true
    for (let at = start, above = text; above !== rest && at < 0x4000; above = parentName(above)) {
      this.#names.set(above, { at, size })
      size -= this.#bytes[at]! + 1
      at += this.#bytes[at]! + 1
    }
    if (known === undefined) this.u8(0)
    else this.u16(0xc000 | known.at)
  }

  /** Yields its bytes; 0: it is none. */
  private label(text: DomainText): number {
    const start = this.#length
    if (text.length > 0 && text.length <= maxLabelBytes) {
      this.u8(text.length)
      let isPlain = true
      for (let i = 0; i < text.length && isPlain; i++) {
        const c = text.charCodeAt(i)
        isPlain = c > 0x20 && c < 0x7f && c !== 0x2e && c !== 0x5c
        this.u8(c)
      }
      if (isPlain) return text.length
      this.#length = start
    }
    const labels = labelsOf(text)
    if (labels?.length !== 1) return 0
    this.u8(labels[0]!.length)
    this.raw(labels[0]!)
    return labels[0]!.length
  }

  /** Writes what `body` writes, after its length in two bytes. */
  sized(body: () => void): void {
    const start = this.#length
    this.u16(0)
    body()
    const length = this.#length - start - 2
    if (length > 0xffff) this.bad = true
    this.#bytes[start] = length >>> 8
    this.#bytes[start + 1] = length
  }
}
