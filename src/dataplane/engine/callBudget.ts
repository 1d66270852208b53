/**
 * What calling one client back may cost: bytes for bytes. A source address proves nothing, so for a call as many bytes must
 * have come from the client's endpoint, or from the client itself, as the call sends there. Only the first call to an
 * endpoint that another gateway has proved, or this one before its restart, is paid for by what was received there then.
 * No credit is kept beyond one call.
 */
import { initiationLength, transportMinimum } from "../../wireguard/protocol.ts"

/** The initiation, and the packet that confirms the session when it is answered. */
const callBytes = initiationLength + transportMinimum

/** Between calls; twice as long after each that was not answered, since the answer may take longer than this. */
const shortestPauseMs = 1_000
const longestPauseMs = 4_000

export class CallBudget {
  /** Bytes that came from the endpoint since the last call, whoever sent them. */
  private claimed = 0
  /** Authentic bytes of the client until the last call. */
  private spent = 0
  /** Monotonic milliseconds. */
  calledAt = Number.NEGATIVE_INFINITY
  private pauseMs = shortestPauseMs
  private unanswered = 0

  /** The endpoint was proved elsewhere. */
  grant(): void {
    this.claimed = callBytes
    this.unanswered = 0
  }

  /** A handshake with the client was completed. */
  answered(): void {
    this.unanswered = 0
  }

  claim(bytes: number): void {
    this.claimed = Math.min(this.claimed + bytes, callBytes)
  }

  /** Whether there may be a call, which is then paid. `rxBytes`: authentic ones of the client so far. */
  take(rxBytes: number, now: number): boolean {
    if (now - this.calledAt < this.pauseMs || this.claimed + rxBytes - this.spent < callBytes) return false
    this.claimed = 0
    this.spent = rxBytes
    this.calledAt = now
    this.pauseMs = Math.min(shortestPauseMs * 2 ** this.unanswered++, longestPauseMs)
    return true
  }
}
