import { concat, read16 } from "../packet/bytes.ts"

/** The message behind its length in two bytes (RFC 1035 §4.2.2), in one piece (RFC 7766 §8). */
export const frame = (message: Uint8Array): Uint8Array =>
  concat([Uint8Array.of(message.length >>> 8, message.length), message])

/** The shortest message: a header. */
const minMessageBytes = 12

/** Cuts a stream into messages of at most 65,535 bytes; keeps no more than one that is not complete. */
export class StreamFrames {
  #parts: Array<Uint8Array> = []
  #held = 0
  /** Below so many bytes no message is complete: what comes in small pieces is joined once. */
  #wanted = 2

  /** The messages that `chunk` completes; `null` when the stream carries no DNS, for good. */
  push(chunk: Uint8Array): ReadonlyArray<Uint8Array> | null {
    this.#parts.push(chunk)
    this.#held += chunk.length
    if (this.#held < this.#wanted) return []
    const bytes = concat(this.#parts)
    const messages: Array<Uint8Array> = []
    let at = 0
    for (;;) {
      this.#wanted = 2
      if (bytes.length - at < 2) break
      const length = read16(bytes, at)
      if (length < minMessageBytes) return null
      this.#wanted = 2 + length
      if (bytes.length - at < this.#wanted) break
      messages.push(bytes.slice(at + 2, at + this.#wanted))
      at += this.#wanted
    }
    this.#parts = [bytes.subarray(at)]
    this.#held = bytes.length - at
    return messages
  }
}
