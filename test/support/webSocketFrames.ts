/** The text messages of one direction of a captured WebSocket (RFC 6455 §5.2), masked or not. */
export class WebSocketFrames {
  private next: number | null = null
  private held = Buffer.alloc(0)

  /** A TCP segment's sequence number and data, in the order of the wire; yields the messages that it completes. */
  add(sequence: number, data: Buffer): ReadonlyArray<string> {
    if (data.length === 0 || (this.next !== null && sequence !== this.next)) return []
    this.next = (sequence + data.length) >>> 0
    this.held = Buffer.concat([this.held, data])
    const messages: Array<string> = []
    for (let message = this.take(); message !== undefined; message = this.take()) {
      if (message !== null) messages.push(message)
    }
    return messages
  }

  /** `undefined`: not all here yet; `null`: no text. */
  private take(): string | null | undefined {
    const { held } = this
    if (held.length < 2) return undefined
    const masked = held[1]! >= 128
    const short = held[1]! & 127
    const head = short === 126 ? 4 : short === 127 ? 10 : 2
    const whole = head + (masked ? 4 : 0)
    if (held.length < whole) return undefined
    const length = short === 126 ? held.readUInt16BE(2) : short === 127 ? held.readUInt32BE(6) : short
    if (held.length < whole + length) return undefined
    const body = Buffer.from(held.subarray(whole, whole + length))
    if (masked) for (let i = 0; i < length; i++) body[i]! ^= held[head + (i & 3)]!
    this.held = held.subarray(whole + length)
    return (held[0]! & 15) === 1 ? body.toString("utf8") : null
  }
}
