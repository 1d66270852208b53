import { RateLimits } from "./rateLimits.ts"
import { type Sessions, sessionTimeouts } from "./sessions.ts"

/** How long the kernel remembers a connection that nobody answers, or that has been closed, in seconds. */
const briefly = 120
/** As long as it remembers an open one: until the session's own time-out. */
const long = sessionTimeouts.tcp / 1_000

/** New sessions of one client per second, and at once, wherever the gateway has room for them. */
const mostPerSecond = 512
const mostAtOnce = 16_384

/**
 * How fast one client may open sessions. The kernel tracks each flow and forgets it by its own clock, also when its
 * session here has made room for a newer one: without a brake one client could fill the table that all share. Of
 * `capacity` (the gateway's sessions) its flows of the last two minutes take a quarter, at once another quarter at most.
 * Open connections that made room for newer ones (only when the client has nothing else left to give) take an eighth.
 */
export class SessionBirths {
  private readonly sessions: Sessions
  private readonly births: RateLimits
  private readonly displacements: RateLimits

  constructor(sessions: Sessions, capacity: number) {
    this.sessions = sessions
    this.births = new RateLimits({
      perSecond: Math.min(mostPerSecond, capacity / 4 / briefly),
      burst: Math.min(mostAtOnce, capacity / 4)
    })
    this.displacements = new RateLimits({ perSecond: capacity / 8 / long, burst: capacity / 64 })
  }

  /** Whether the client may open another session now. */
  take(client: number, now: number): boolean {
    if (this.sessions.displacesConfirmed(client) && !this.displacements.take(client, now)) return false
    return this.births.take(client, now)
  }

  forgetClient(client: number): void {
    this.births.forgetClient(client)
    this.displacements.forgetClient(client)
  }
}
