/** A gateway that gives its clients away on purpose, as far as its site is concerned. Pure: `now` is monotonic milliseconds. */
import type { Sibling } from "../dataplane/commands.ts"
import { type Heartbeat, isFresh, type Meeting } from "./meeting.ts"

interface DrainingReport {
  readonly since: number
  /** Others that live and do not know of it yet. */
  readonly untold: ReadonlyArray<number>
  /** Others that know of it and take clients; those of an older version, which take nothing that is under way, among them apart. */
  readonly told: ReadonlyArray<number>
  readonly older: ReadonlyArray<number>
}

export class Draining {
  private since: number | null = null
  /** By the engine's clock: it was said by then. */
  private saidAt: number | null = null
  /** When each of the others was there first after that. */
  private readonly heard = new Map<number, number>()
  private others: ReadonlyArray<Heartbeat> = []

  get isOn(): boolean {
    return this.since !== null
  }

  begin(now: number): void {
    this.since ??= now
  }

  end(): void {
    this.since = null
    this.saidAt = null
    this.heard.clear()
  }

  /** What this gateway has heard in answer to what it said; `said`: that it drains. Yields the others that live. */
  see({ dateMs, heartbeats }: Meeting, gateway: number, said: boolean): ReadonlyArray<Sibling> {
    this.others = heartbeats.filter((one) => one.gateway !== gateway && isFresh(one.at, dateMs))
    if (said && this.isOn) {
      this.saidAt ??= dateMs
      for (const { at, gateway: no } of this.others) if (at > this.saidAt && !this.heard.has(no)) this.heard.set(no, at)
    }
    return this.others.flatMap(({ address, draining, epoch, gateway: no, port }) =>
      port === null ? [] : [{ gateway: no, epoch, address, port, draining }]
    )
  }

  /** `null`: it does not drain. */
  report(): DrainingReport | null {
    if (this.since === null) return null
    // One that has been there again has carried out what it heard when it was there before.
    const knows = ({ at, gateway }: Heartbeat): boolean => at > (this.heard.get(gateway) ?? Number.POSITIVE_INFINITY)
    const numbers = (some: (one: Heartbeat) => boolean) => this.others.filter(some).map(({ gateway }) => gateway)
    return {
      since: this.since,
      untold: numbers((one) => !knows(one)),
      told: numbers((one) => knows(one) && !one.draining),
      older: numbers((one) => knows(one) && one.port === null)
    }
  }
}
