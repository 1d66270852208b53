/** Gateways of a site as far as who calls whom: real `Ownership`s over the store in memory, and the truth about everything. */
import { assert } from "@effect/vitest"
import { PresenceMemory } from "../../layers/memory/PresenceStoreMemory.ts"
import type { KnownEndpoint } from "../../src/dataplane/commands.ts"
import type { ClientState } from "../../src/dataplane/notices.ts"
import { ClientId } from "../../src/model/Client.ts"
import { type Decision, Ownership } from "../../src/shared/Ownership.ts"

export const clients = ["alice", "bob", "carol"].map((id) => ClientId.make(id))
export const keyOf = (client: ClientId): string => `${client.padEnd(42, "A")}A=`

/** Gateways meet the site so often, and this is how finely time goes by. */
const meetMs = 1_000
const tickMs = 500
/** The packet engine has called everybody by then. */
const callsMs = 30_000

interface Handshake {
  readonly gateway: number
  /** Which one of the gateway's lives it was. */
  readonly life: Ownership
  /** By the client, with a later label than all before. */
  readonly own: boolean
  /** Has been told to the engine, and is there still. */
  wasTold: boolean
  isTold: boolean
}

export class Gateway {
  readonly no: number
  private readonly site: Site
  /** Its monotonic clock is ahead by so much. */
  readonly clock: number
  ownership: Ownership | null = null
  isReaching = true
  /** When it came to be as it is: running, and reaching the engine. */
  steadySince = 0
  address: "here" | "elsewhere" | null = null
  /** Of its host. */
  addresses: ReadonlySet<string> = new Set(["198.51.100.1"])
  private metAt = Number.NEGATIVE_INFINITY
  /** Whom the packet engine is to call, and since when. */
  readonly calling = new Map<ClientId, number>()
  /** All that it ever was. */
  readonly calls: Array<ClientId> = []
  readonly labels = new Map<ClientId, string>()
  readonly flapping: Array<NonNullable<Decision["flapping"]>> = []
  /** As it was told last. */
  rivals: ReadonlyArray<number> = []

  constructor(site: Site, no: number) {
    this.site = site
    this.no = no
    this.clock = no * 7_777_777
  }

  get now(): number {
    return this.site.time + this.clock
  }

  start(): void {
    if (this.ownership !== null) return
    this.ownership = new Ownership()
    this.ownership.follow(clients.map((id) => ({ id, publicKey: keyOf(id) })))
    this.address = null
    this.metAt = Number.NEGATIVE_INFINITY
    this.steadySince = this.site.time
  }

  crash(): void {
    this.ownership = null
    this.calling.clear()
    this.labels.clear()
  }

  reach(isReaching: boolean): void {
    if (isReaching && !this.isReaching) {
      this.steadySince = this.site.time
      this.ownership?.again()
    }
    this.isReaching = isReaching
  }

  move(address: "here" | "elsewhere"): void {
    if (this.ownership === null || this.address === address) return
    this.address = address
    this.tell(this.ownership.move(address))
  }

  shake(client: ClientId, label: string): void {
    this.labels.set(client, label)
    this.calling.delete(client)
    this.ownership!.observe(stateOf(client, { lastTai64n: label, handshakeAt: this.now }))
  }

  meet(): void {
    if (this.ownership === null || this.site.time - this.metAt < meetMs) return
    this.metAt = this.site.time
    const hello = { ...this.ownership.hello(this.no, 51_820), address: null, about: null }
    if (!this.isReaching) return this.tell(this.ownership.miss(this.now))
    const meeting = this.site.engine.meet(hello, this.site.date)
    const { call, flapping, heirless, resumes, rivals, tell } = this.ownership.see(meeting, this.now)
    this.site.told(this.no, new Set(hello.sightings.map(({ publicKey }) => publicKey)))
    if (flapping !== null) this.flapping.push(flapping)
    this.rivals = rivals
    this.tell(tell)
    this.call(call)
    if (resumes) this.call(this.ownership.resume(this.addresses))
    if (heirless.length === 0) return
    this.call(this.ownership.inherit(this.site.engine.inherit(this.no, heirless, this.site.date), this.addresses))
  }

  private tell(clients: ReadonlyArray<KnownEndpoint>): void {
    for (const known of clients) {
      this.calling.delete(known.client)
      this.learn(known)
    }
  }

  private call(clients: ReadonlyArray<KnownEndpoint>): void {
    for (const known of clients) {
      this.learn(known)
      this.calling.set(known.client, this.site.time)
      this.calls.push(known.client)
      this.site.called(this, known.client)
    }
  }

  private learn({ client, lastTai64n }: KnownEndpoint): void {
    if ((lastTai64n ?? "") > (this.labels.get(client) ?? "")) this.labels.set(client, lastTai64n!)
  }
}

export class Site {
  time = 1_000_000
  /** The engine's clock is ahead by so much. */
  ahead = 1_700_000_000_000
  readonly engine = new PresenceMemory()
  readonly gateways = [0, 1, 2].map((no) => new Gateway(this, no))
  private stamp = 0
  /** For how long gateways have called without the engine. */
  private readonly cutOff = new Map<number, number>()
  private readonly handshakes = new Map<ClientId, Array<Handshake>>()

  get date(): number {
    return this.time + this.ahead
  }

  /** The client begins a handshake there. */
  connect(client: ClientId, no: number): void {
    const gateway = this.gateways[no]!
    if (gateway.ownership === null) return
    this.shake(client, gateway, (++this.stamp).toString(16).padStart(24, "0"), true)
  }

  /** The client answers the gateway that calls it. */
  answer(client: ClientId): void {
    const gateway = this.gateways.find(({ calling }) => calling.has(client))
    if (gateway === undefined) return
    this.shake(client, gateway, gateway.labels.get(client) ?? "", false)
  }

  private shake(client: ClientId, gateway: Gateway, label: string, own: boolean): void {
    gateway.shake(client, label)
    const all = this.handshakes.get(client) ?? []
    all.push({ gateway: gateway.no, own, wasTold: false, isTold: false, life: gateway.ownership! })
    this.handshakes.set(client, all)
  }

  /** Only one has it; nobody: `null`. */
  moveAddress(to: number | null): void {
    for (const gateway of this.gateways) if (gateway.no !== to) gateway.move("elsewhere")
    if (to !== null) this.gateways[to]!.move("here")
  }

  /** The engine, which has lost what was not on its disk when it is back. */
  crash(): void {
    this.engine.lose()
    for (const all of this.handshakes.values()) for (const one of all) one.isTold = false
    for (const gateway of this.gateways) {
      gateway.reach(false)
      gateway.reach(true)
    }
  }

  pass(ms: number): void {
    for (const end = this.time + ms; this.time < end;) {
      this.time += tickMs
      for (const gateway of this.gateways) {
        for (const [client, since] of gateway.calling) if (this.time - since > callsMs) gateway.calling.delete(client)
        gateway.meet()
      }
      this.check()
    }
  }

  told(no: number, keys: ReadonlySet<string>): void {
    for (const [client, all] of this.handshakes) {
      if (!keys.has(keyOf(client))) continue
      for (const one of all) if (one.life === this.gateways[no]!.ownership) one.wasTold = one.isTold = true
    }
  }

  /** Nobody is called who is at a gateway that lives, but by the one that the address has come to. */
  called(gateway: Gateway, client: ClientId): void {
    const last = this.handshakes.get(client)?.findLast(({ wasTold }) => wasTold)
    assert.isDefined(last, `${client} is called, whom nobody has seen`)
    const owner = this.gateways[last.gateway]!
    if (owner === gateway || gateway.address === "here") return
    const isThere = owner.ownership === last.life && owner.isReaching && this.time - owner.steadySince >= 2_000
    assert.isFalse(isThere, `gateway ${gateway.no} calls ${client}, who is at gateway ${owner.no}`)
  }

  private check(): void {
    for (const client of clients) {
      const callers = this.gateways.filter(({ calling }) => calling.has(client))
      // The others hear at their next meeting to whom the address has come, or that they are cut off.
      const hasJustCome = ({ address, calling }: Gateway) =>
        address === "here" && this.time - calling.get(client)! <= 2_500
      if (callers.some(hasJustCome)) continue
      assert.isAtMost(callers.length, 1, `${client} is called by ${callers.map(({ no }) => no).join(" and ")}`)
    }
    for (const { calling, isReaching, no } of this.gateways) {
      if (!isReaching && calling.size > 0) this.cutOff.set(no, (this.cutOff.get(no) ?? 0) + tickMs)
      else this.cutOff.delete(no)
      assert.isAtMost(this.cutOff.get(no) ?? 0, 3_000, `gateway ${no} calls although it is cut off`)
    }
  }

  /** Everybody who knows anything knows that a client is where it went last. */
  agree(): void {
    for (const client of clients) {
      const last = this.handshakes.get(client)?.at(-1)
      if (last === undefined || !last.isTold || !last.own) continue
      for (const { isReaching, no, ownership } of this.gateways) {
        if (!isReaching || ownership === null) continue
        const owner = ownership.report().owners.get(client)
        // Of its own life before it says nothing: there is no other gateway to name.
        assert.strictEqual(owner, last.gateway === no ? undefined : last.gateway, `${client} at ${no}`)
      }
    }
  }
}

export const stateOf = (client: ClientId, more: Partial<ClientState> = {}): ClientState => ({
  _tag: "ClientState",
  epoch: 1,
  client,
  publicKey: keyOf(client),
  connected: true,
  gatewayKey: null,
  endpoint: { address: "192.0.2.1", port: 1_000 + clients.indexOf(client) },
  local: "198.51.100.1",
  lastTai64n: null,
  sentTick: 0,
  behindMs: 0,
  handshakeAt: null,
  ...more
})
