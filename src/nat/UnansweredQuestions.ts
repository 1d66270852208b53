import { grownInts } from "./slotLists.ts"

/** Of all clients together: half of what the socket of the gateway's DNS server holds (`openServerSocket`). */
export const maxQuestions = 2_048

/**
 * Questions to the gateway's own DNS server that it has not answered. They wait in one line, its socket's, so that what one
 * client has there delays all: nobody has more than are left free beside it (dynamic thresholds, Choudhury and Hahne
 * 1998). An answer gives the place back, so that a client asks as fast as it is answered, and whoever else asks finds
 * room; of what is never answered a quarter is forgotten each second, and a few questions sooner, since what is left is
 * rounded down. Time is monotonic milliseconds.
 */
export class UnansweredQuestions {
  /** By client (a small number). */
  private counts = new Int32Array(64)
  private total = 0
  private agedAt = 0

  /** Takes a place; false: the client has its share. */
  take(client: number, now: number): boolean {
    if (now - this.agedAt >= ageMs) this.age(now)
    if (client >= this.counts.length) this.counts = grownInts(this.counts, client + 1)
    if (this.counts[client]! >= maxQuestions - this.total) return false
    this.counts[client]!++
    this.total++
    return true
  }

  /** An answer goes to the client. */
  answered(client: number): void {
    if (client >= this.counts.length || this.counts[client] === 0) return
    this.counts[client]!--
    this.total--
  }

  forgetClient(client: number): void {
    if (client >= this.counts.length) return
    this.total -= this.counts[client]!
    this.counts[client] = 0
  }

  private age(now: number): void {
    const steps = Math.floor((now - this.agedAt) / ageMs)
    this.agedAt += steps * ageMs
    if (this.total === 0) return
    const kept = keptEachStep ** steps
    this.total = 0
    for (let i = 0; i < this.counts.length; i++) {
      this.counts[i] = Math.floor(this.counts[i]! * kept)
      this.total += this.counts[i]!
    }
  }
}

const ageMs = 100
/** A quarter less after a second. */
const keptEachStep = 0.75 ** 0.1
