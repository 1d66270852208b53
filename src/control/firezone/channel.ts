/**
 * A gateway's (or a client's) side of a Phoenix channel in the V1 object envelope (docs/portal-protocol.md,
 * "Envelope"), without IO: frames in and out are texts, time is an argument. One owner, which passes every frame and
 * every deadline on and sends what `takeFrames` gives.
 */
import type { Push } from "./pushes.ts"

/** What the owner has to act on. */
export type ChannelEvent =
  | { readonly _tag: "Joined" }
  | { readonly _tag: "Message"; readonly event: string; readonly payload: unknown }
  /** A frame that is none, for the log. */
  | { readonly _tag: "Skipped"; readonly problem: string }
  /** The portal refused one of our messages, whose content `request` is. */
  | { readonly _tag: "Refused"; readonly event: string; readonly request: unknown; readonly reason: string }
  /** What the portal answered to one of our messages; only for an owner that wants it. */
  | { readonly _tag: "Answered"; readonly event: string; readonly request: unknown; readonly response: unknown }
  /** This connection is of no more use. */
  | { readonly _tag: "Broken"; readonly reason: string }

/** Messages kept while they cannot be sent; of more, the oldest are dropped and counted. */
const maxQueued = 128
const heartbeatMs = 10_000
const maxUnanswered = 3
const joinMs = 5_000
/** Joining again at once would be a loop when the portal's side dies each time. */
const rejoinMs = 1_000
const maxAttempts = 3

export interface ChannelOptions {
  readonly topic: "gateway" | "client"
  /** Whether `Answered` is wanted: clients of generation A live by replies. */
  readonly answers: boolean
}

interface Message extends Push {
  readonly text: string
  readonly attempts: number
}

export class Channel {
  private state: "closed" | "joining" | "joined" | "errored" = "closed"
  private frames: Array<string> = []
  private queue: Array<Message> = []
  private readonly unanswered = new Map<number, Message>()
  private readonly heartbeats = new Set<number>()
  private ref = 0
  private joinRef = 0
  private joinedBy = 0
  private lastJoinAt = Number.NEGATIVE_INFINITY
  private heartbeatAt = 0
  private rejoinAt = 0
  /** Messages lost because the queue was full. */
  dropped = 0
  private readonly topic: string
  private readonly answers: boolean

  constructor(options: ChannelOptions = { topic: "gateway", answers: false }) {
    this.topic = options.topic
    this.answers = options.answers
  }

  get joined(): boolean {
    return this.state === "joined"
  }

  /** When `tick` has something to do; infinite while there is no connection. */
  get nextAt(): number {
    if (this.state === "closed") return Number.POSITIVE_INFINITY
    if (this.state === "joining") return Math.min(this.joinedBy, this.heartbeatAt)
    return this.state === "errored" ? Math.min(this.rejoinAt, this.heartbeatAt) : this.heartbeatAt
  }

  /** A connection is up: references start over. */
  open(now: number): void {
    this.frames = []
    this.unanswered.clear()
    this.heartbeats.clear()
    this.ref = 0
    this.heartbeatAt = now + heartbeatMs
    this.join(now)
  }

  /** The connection is gone. What waits to be sent stays; what was sent is the portal's. */
  close(): void {
    this.state = "closed"
    this.frames = []
  }

  /** At once when joined, else once joined. The same message twice in the queue is one. */
  send(message: Push): void {
    const text = JSON.stringify(message.payload)
    if (this.state === "joined") return this.transmit({ ...message, text, attempts: 0 })
    if (this.queue.some((queued) => queued.event === message.event && queued.text === text)) return
    this.enqueue([...this.queue, { ...message, text, attempts: 0 }])
  }

  takeFrames(): ReadonlyArray<string> {
    const { frames } = this
    this.frames = []
    return frames
  }

  receive(text: string, now: number): ReadonlyArray<ChannelEvent> {
    if (this.state === "closed") return []
    const frame = parseFrame(text)
    if (frame === undefined) return [{ _tag: "Skipped", problem: "a frame is not a Phoenix message" }]
    const { event, payload, ref } = frame
    if (event === "phx_reply") return ref === null ? [] : this.replied(ref, payload, now)
    if (frame.topic !== this.topic) return []
    if (event === "phx_close") return [{ _tag: "Broken", reason: "the portal closed the channel" }]
    if (event === "phx_error") {
      if (this.state === "joined") this.rejoinLater(now)
      return []
    }
    return [{ _tag: "Message", event, payload }]
  }

  /** To be called at `nextAt`; too early does nothing. */
  tick(now: number): ReadonlyArray<ChannelEvent> {
    if (this.state === "closed") return []
    if (this.state === "joining" && now >= this.joinedBy) {
      return [{ _tag: "Broken", reason: `the portal did not answer the join within ${joinMs / 1_000} s` }]
    }
    if (this.state === "errored" && now >= this.rejoinAt) this.join(now)
    if (now >= this.heartbeatAt) {
      if (this.heartbeats.size > maxUnanswered) {
        return [{ _tag: "Broken", reason: `the portal left ${this.heartbeats.size} heartbeats unanswered` }]
      }
      this.heartbeatAt = now + heartbeatMs
      this.heartbeats.add(this.push("phoenix", "heartbeat", "{}"))
    }
    return []
  }

  private replied(ref: number, payload: unknown, now: number): ReadonlyArray<ChannelEvent> {
    if (this.heartbeats.delete(ref)) {
      // An answer to a later one says as much about those before.
      this.heartbeats.clear()
      return []
    }
    const reason = refusalOf(payload)
    if (ref === this.joinRef && this.state === "joining") {
      if (reason !== null) return [{ _tag: "Broken", reason: `the portal refused the join: ${reason}` }]
      this.state = "joined"
      const { queue } = this
      this.queue = []
      for (const message of queue) this.transmit(message)
      return [{ _tag: "Joined" }]
    }
    const message = this.unanswered.get(ref)
    if (message === undefined) return []
    this.unanswered.delete(ref)
    const { event, payload: request } = message
    if (reason === null) {
      return this.answers ? [{ _tag: "Answered", event, request, response: responseOf(payload) }] : []
    }
    if (reason !== "unmatched topic") return [{ _tag: "Refused", event, request, reason }]
    // The portal's side of the channel has died and never saw the message.
    if (message.attempts + 1 < maxAttempts)
      this.enqueue([{ ...message, attempts: message.attempts + 1 }, ...this.queue])
    else this.dropped++
    if (this.state !== "joined") return []
    if (now - this.lastJoinAt < rejoinMs) this.rejoinLater(now)
    else this.join(now)
    return []
  }

  private join(now: number): void {
    this.state = "joining"
    this.lastJoinAt = now
    this.joinedBy = now + joinMs
    this.joinRef = this.push(this.topic, "phx_join", "null")
  }

  private rejoinLater(now: number): void {
    this.state = "errored"
    this.rejoinAt = Math.max(now, this.lastJoinAt + rejoinMs)
  }

  private transmit(message: Message): void {
    const ref = this.push(this.topic, message.event, message.text)
    this.unanswered.set(ref, message)
    // Some messages get no reply at all.
    for (const oldest of this.unanswered.keys()) {
      if (this.unanswered.size <= maxQueued) break
      this.unanswered.delete(oldest)
    }
  }

  private enqueue(messages: Array<Message>): void {
    const over = Math.max(0, messages.length - maxQueued)
    this.dropped += over
    this.queue = messages.slice(over)
  }

  private push(topic: string, event: string, payload: string): number {
    const ref = this.ref++
    this.frames.push(`{"topic":"${topic}","event":${JSON.stringify(event)},"payload":${payload},"ref":${ref}}`)
    return ref
  }
}

interface Frame {
  readonly topic: string
  readonly event: string
  readonly payload: unknown
  readonly ref: number | null
}

const parseFrame = (text: string): Frame | undefined => {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof parsed !== "object" || parsed === null) return undefined
  const topic: unknown = "topic" in parsed ? parsed.topic : undefined
  const event: unknown = "event" in parsed ? parsed.event : undefined
  if (typeof topic !== "string" || typeof event !== "string") return undefined
  const ref: unknown = "ref" in parsed ? parsed.ref : null
  const number = typeof ref === "number" ? ref : typeof ref === "string" && /^\d{1,15}$/.test(ref) ? Number(ref) : null
  return { topic, event, payload: "payload" in parsed ? parsed.payload : null, ref: number }
}

const responseOf = (payload: unknown): unknown =>
  typeof payload === "object" && payload !== null && "response" in payload ? payload.response : null

/** Why the portal refused, in at most 100 characters; `null` when it did not. */
const refusalOf = (payload: unknown): string | null => {
  if (typeof payload !== "object" || payload === null || !("status" in payload) || payload.status === "ok") return null
  const response = "response" in payload ? payload.response : null
  const reason = typeof response === "object" && response !== null && "reason" in response ? response.reason : null
  return typeof reason === "string" ? reason.slice(0, 100) : "no reason given"
}
