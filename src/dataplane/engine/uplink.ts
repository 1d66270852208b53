/**
 * The way of sealed datagrams to the network: directly, or as ChannelData to the relay that has the channel (RFC 8656
 * §12). A batch has the header before each of its datagrams, so that relayed ones leave as many at once as direct ones.
 */
import { type ChannelTable, channelHeaderLength, writeChannelHeader } from "../../ice/channelTable.ts"
import type { Arena } from "../../packet/arena.ts"
import { copyEndpoint, type Endpoint, makeEndpoint } from "../../packet/endpoint.ts"
import { counterIndex } from "../counters.ts"
import type { EngineState } from "./engineState.ts"
import type { HandOver } from "./handOver.ts"

const udpSent = counterIndex["udp.sent"]
const udpSendFailed = counterIndex["udp.send_failed"]
const relaySent = counterIndex["relay.sent"]
const relayNoChannel = counterIndex["relay.no_channel"]

/** WireGuard's own messages and ICE's are shorter. */
const scratchLength = 2_048
/** The traffic class of those. */
const ordinary = 0

export class Uplink {
  private readonly state: EngineState
  private readonly channels: ChannelTable
  private readonly handOver: HandOver
  private readonly at: number
  private readonly direct = makeEndpoint()

  constructor(state: EngineState, channels: ChannelTable, handOver: HandOver, arena: Arena) {
    this.state = state
    this.channels = channels
    this.handOver = handOver
    this.at = arena.reserve(scratchLength)
  }

  /** Writes what goes right before a datagram of `length` bytes to a channel. */
  writeHeader(to: Readonly<Endpoint>, at: number, length: number): void {
    const channel = this.channels.get(to.channel)
    if (channel !== undefined) writeChannelHeader(this.state.bytes, at, channel.number, length)
  }

  /**
   * Sends `count` datagrams of `size` bytes (the last may be shorter), each behind its header if it goes to a channel, all
   * under one traffic class.
   */
  sendBatch(
    to: Readonly<Endpoint>,
    offset: number,
    length: number,
    size: number,
    count: number,
    trafficClass: number
  ): void {
    const { counters, io } = this.state
    if (to.channel === 0) {
      counters[io.send(to, offset, length, size, trafficClass) ? udpSent : udpSendFailed]! += count
      return
    }
    const channel = this.channels.get(to.channel)
    if (channel === undefined) {
      counters[relayNoChannel]! += count
      return
    }
    channel.sent = true
    counters[relaySent]! += count
    counters[io.send(channel.server, offset, length, size, trafficClass) ? udpSent : udpSendFailed]! += count
  }

  /** Sends one datagram, which has no header yet. */
  send(to: Readonly<Endpoint>, offset: number, length: number): void {
    if (to.channel === 0) return this.sendBatch(to, offset, length, length, 1, ordinary)
    if (to.channel < 0) {
      if (!this.handOver.sendTo(to, offset, length)) this.sendAs(to, offset, length)
      return
    }
    this.sendBytes(to, this.state.bytes.subarray(offset, offset + length))
  }

  /** Sends one datagram for another gateway, from the address that the client has dialled. */
  sendAs(to: Readonly<Endpoint>, offset: number, length: number): void {
    copyEndpoint(to, this.direct)
    this.direct.channel = 0
    this.sendBatch(this.direct, offset, length, length, 1, ordinary)
  }

  /** Sends bytes from outside of the arena as one datagram. */
  sendBytes(to: Readonly<Endpoint>, bytes: Uint8Array): void {
    const { length } = bytes
    if (length > scratchLength - channelHeaderLength) return this.state.count("udp.send_failed")
    const header = to.channel === 0 ? 0 : channelHeaderLength
    if (header > 0) this.writeHeader(to, this.at, length)
    this.state.bytes.set(bytes, this.at + header)
    this.sendBatch(to, this.at, length + header, length + header, 1, ordinary)
  }
}
