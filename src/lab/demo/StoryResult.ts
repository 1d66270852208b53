import * as Schema from "effect/Schema"

const storySteps = ["setup", "accept", "icmp", "heal", "download", "move", "revoke", "relay"] as const

/** The parts of the story, in their order. */
export type StoryStep = (typeof storySteps)[number]

/** A step did not go as promised; `message` is one line that names it. */
export class StoryFailed extends Schema.TaggedError<StoryFailed>()("StoryFailed", {
  step: Schema.Literals(storySteps),
  message: Schema.String
}) {}

/** What was measured, in milliseconds between packets on the wire; `null` where the story did not get that far. */
export interface StoryResult {
  /** From the name query on the client's TUN to its answer. */
  readonly acceptMs: number | null
  /** From the WireGuard initiation to the response, on the client's outer wire. */
  readonly handshakeMs: number | null
  readonly acceptedWhileDnsDown: boolean
  readonly answerWhileDnsDown: "icmp-unreachable" | "none"
  /** ICMP type and code of that answer. */
  readonly answerTypeCode: string | null
  /** From the name server's return to the first byte on the client's TUN. */
  readonly healMs: number | null
  /** From the change of the name's address to the first byte from the new host on a new flow. */
  readonly movedMs: number | null
  /** Arrived with the right checksum. */
  readonly downloadedBytes: number
  readonly ok: boolean
  /** The step that failed; `null` when none did. */
  readonly failed: StoryStep | null
}

export const emptyResult: StoryResult = {
  acceptMs: null,
  handshakeMs: null,
  acceptedWhileDnsDown: false,
  answerWhileDnsDown: "none",
  answerTypeCode: null,
  healMs: null,
  movedMs: null,
  downloadedBytes: 0,
  ok: false,
  failed: null
}
