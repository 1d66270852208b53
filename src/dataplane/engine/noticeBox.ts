/** Collects notices of one turn; at most one `Traffic` per (mapping, cause) and second (design §5). */
import type { Notice, TrafficCause } from "../notices.ts"
import type { MappingId } from "../../model/Mapping.ts"

const causes: ReadonlyArray<TrafficCause> = ["Unmapped", "Unanswered", "Unreachable", "Stale", "Answered"]
const intervalMs = 1_000

export class NoticeBox {
  private readonly epoch: number
  private box: Array<Notice> = []
  /** Per mapping index × cause: when the last one was put in. */
  private readonly sentAt: Array<Float64Array | undefined> = []

  coalesced = 0

  constructor(epoch: number) {
    this.epoch = epoch
  }

  /** True when the notice was put in, false when one of its kind was within the last second. */
  traffic(index: number, mapping: MappingId, cause: TrafficCause, now: number): boolean {
    const which = causes.indexOf(cause)
    let times = this.sentAt[index]
    if (times === undefined) {
      times = new Float64Array(causes.length).fill(Number.NEGATIVE_INFINITY)
      this.sentAt[index] = times
    }
    if (now - times[which]! < intervalMs) {
      this.coalesced++
      return false
    }
    times[which] = now
    this.box.push({ _tag: "Traffic", epoch: this.epoch, mapping, cause })
    return true
  }

  /** The index may be given to another mapping. */
  forget(index: number): void {
    this.sentAt[index] = undefined
  }

  put(notice: Notice): void {
    this.box.push(notice)
  }

  /** Everything put in since the last call; an empty array is shared and must not be kept. */
  take(): ReadonlyArray<Notice> {
    if (this.box.length === 0) return nothing
    const taken = this.box
    this.box = []
    return taken
  }
}

const nothing: ReadonlyArray<Notice> = []
