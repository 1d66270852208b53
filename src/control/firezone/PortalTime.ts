/**
 * The portal's clock: its expiry dates are of it, so that this host's may be wrong, or be set while the gateway runs,
 * without any authorization ending early or late. Known from each connection, and carried on from there by a monotonic clock.
 */
export class PortalTime {
  private ahead: number

  /** Until the first connection this host's clock (`wall`, epoch milliseconds) is all there is. `now`: monotonic milliseconds. */
  constructor(wall: number, now: number) {
    this.ahead = wall - now
  }

  /** `date`: what the portal said, in whole seconds; `null`: nothing. This host's clock is taken where it says the same. */
  connected(date: number | null, wall: number, now: number): void {
    const agrees = date === null || Math.abs(wall - date) <= agreementMs
    this.ahead = (agrees ? wall : date) - now
  }

  /** Epoch milliseconds. */
  at(now: number): number {
    return this.ahead + now
  }
}

const agreementMs = 2_000
