/**
 * What happened to packets, gathered and told about once a second (`Journal`): refused packets, flows, what clients carried,
 * real addresses that do not answer, devices that nobody knows. All of it is bounded, and no client takes another's room.
 */
import { AddressSilence } from "../../nat/addressSilence.ts"
import { contains, formatAddress, type Words } from "../../packet/address.ts"
import type { Endpoint } from "../../packet/endpoint.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { toBase64 } from "../bytesText.ts"
import {
  type AddressRow,
  type ClientRow,
  type RefusalReason,
  refusalReasons,
  type RefusedRow,
  type StrangerRow
} from "../journal.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import { FlowRows } from "./flowRows.ts"
import { Refusals } from "./refusals.ts"

const intervalMs = 1_000
/** Of a notice. */
const mostRefused = 256
const mostClients = 512
const mostAddressClients = 64
const mostStrangers = 16

/** What main was told of a client last. */
interface Told extends Omit<ClientRow, "activeAgo" | "client" | "heardAgo"> {
  readonly heardAt: number
}

export class Journal {
  readonly flows: FlowRows
  readonly addresses = new AddressSilence()
  private readonly state: EngineState
  private readonly refusals = new Refusals()
  private readonly told: Array<Told | undefined> = []
  private strangers = new Map<string, StrangerRow>()
  private strangersUntold = 0
  /** Of the clients, the one that is looked at next. */
  private turn = 0
  private dueAt = 0

  constructor(state: EngineState) {
    this.state = state
    this.flows = new FlowRows(state)
    state.sessions.onEnded = (slot, why) => this.flows.ended(slot, why)
  }

  /** Allocates nothing. */
  refused(client: ClientEntry, reason: RefusalReason, view: Readonly<PacketView>): void {
    client.refused++
    this.refusals.note(client.index, reasonNumbers[reason], view)
  }

  stranger(publicKey: Uint8Array, from: Readonly<Endpoint>): void {
    const key = toBase64(publicKey)
    const known = this.strangers.get(key)
    if (known === undefined && this.strangers.size >= mostStrangers) {
      this.strangersUntold++
      return
    }
    const handshakes = (known?.handshakes ?? 0) + 1
    this.strangers.set(key, { publicKey: key, address: formatAddress(from.remote), port: from.port, handshakes })
  }

  /** The device has become a client. */
  forgetStranger(publicKey: string): void {
    this.strangers.delete(publicKey)
  }

  /** To be called often; costs next to nothing until a second is over. */
  tellDue(): void {
    const { epoch, notices, now } = this.state
    if (now < this.dueAt) return
    this.dueAt = now + intervalMs
    const refused = this.refusedRows()
    const addresses = this.addressRows()
    const clients = this.clientRows()
    const flows = this.flows.take()
    const strangers = [...this.strangers.values()]
    const untold = { flows: flows.untold, strangers: this.strangersUntold }
    this.strangers.clear()
    this.strangersUntold = 0
    if ([refused, addresses, clients, flows.rows, strangers].every((rows) => rows.length === 0)) return
    notices.put({ _tag: "Journal", epoch, refused, flows: flows.rows, clients, addresses, strangers, untold })
  }

  forgetClient(client: number): void {
    this.refusals.forgetClient(client)
    this.addresses.forgetClient(client)
    this.told[client] = undefined
  }

  forgetMapping(mapping: number): void {
    this.addresses.forgetMapping(mapping)
  }

  private refusedRows(): ReadonlyArray<RefusedRow> {
    const rows: Array<RefusedRow> = []
    const { clients, mappings, resources, translations } = this.state
    this.refusals.take(mostRefused, (index, { destination, packets, port, protocol, reason }) => {
      const client = clients.get(index)
      if (client === undefined) return
      if (reason < 0) return void rows.push({ client: client.id, packets, reason: null, to: null })
      const mapping = translations.find(index, destination)
      const resource = mapping < 0 ? networkOf(client, destination) : translations.resourcesOf(mapping)[0]
      rows.push({
        client: client.id,
        packets,
        reason: refusalReasons[reason]!,
        to: {
          address: formatAddress(destination),
          protocol,
          port,
          mapping: mappings.name(mapping) ?? null,
          resource: resource === undefined ? null : (resources.name(resource) ?? null)
        }
      })
    })
    return rows
  }

  private addressRows(): ReadonlyArray<AddressRow> {
    const rows: Array<AddressRow> = []
    const { mappings, now } = this.state
    this.addresses.take(mostAddressClients, now, (index, real, tries, since, repliedAt) => {
      const mapping = mappings.name(index)
      if (mapping === undefined) return
      const repliedAgo = repliedAt < 0 ? null : now - repliedAt
      rows.push({ mapping, address: formatAddress(real), tries, sinceAgo: tries === 0 ? 0 : now - since, repliedAgo })
    })
    return rows
  }

  /** Of clients that something is new of, in turns. */
  private clientRows(): ReadonlyArray<ClientRow> {
    const rows: Array<ClientRow> = []
    const { clients, now, sessions } = this.state
    const { end } = clients
    for (let seen = 0; seen < end && rows.length < mostClients; seen++) {
      const client = clients.get(this.turn++ % end)
      if (client === undefined) continue
      const { index, peer, refused } = client
      const { dataAt, heardAt, rxBytes: bytesIn, txBytes: bytesOut, unusedAnswers } = peer
      const flows = sessions.sizeOf(index)
      const before = this.told[index] ?? nothingTold
      if (
        before.heardAt === heardAt &&
        before.bytesIn === bytesIn &&
        before.bytesOut === bytesOut &&
        before.refused === refused &&
        before.flows === flows &&
        before.unusedAnswers === unusedAnswers
      )
        continue
      this.told[index] = { bytesIn, bytesOut, refused, flows, unusedAnswers, heardAt }
      rows.push({
        client: client.id,
        bytesIn: since(before.bytesIn, bytesIn),
        bytesOut: since(before.bytesOut, bytesOut),
        refused: refused - before.refused,
        flows,
        unusedAnswers,
        heardAgo: Number.isFinite(heardAt) ? now - heardAt : null,
        activeAgo: Number.isFinite(dataAt) ? now - dataAt : null
      })
    }
    return rows
  }
}

const nothingTold: Told = {
  bytesIn: 0,
  bytesOut: 0,
  refused: 0,
  flows: 0,
  unusedAnswers: 0,
  heardAt: Number.NEGATIVE_INFINITY
}

/** A client with another key begins at zero. */
const since = (before: number, total: number): number => (total < before ? total : total - before)

/** The client's network resource with the longest prefix that has the address. */
const networkOf = (client: ClientEntry, address: Readonly<Words>): number | undefined => {
  let found: number | undefined
  let longest = -1
  for (const { index, kind, network } of client.resources.values()) {
    const prefix = network === null ? 0 : network.prefix
    if (kind === "dns" || prefix <= longest || (network !== null && !contains(network, address))) continue
    found = index
    longest = prefix
  }
  return found
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry per reason, by construction
const reasonNumbers = Object.fromEntries(refusalReasons.map((reason, i) => [reason, i])) as Record<
  RefusalReason,
  number
>
