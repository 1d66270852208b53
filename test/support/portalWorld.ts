/** The development portal in memory, with peers that speak frames to it. */
import { assert } from "vitest"
import { Result } from "effect"
import { parsePortalConfig } from "../../src/lab/devPortal/configFile.ts"
import type { Command } from "../../src/lab/devPortal/commands.ts"
import { DevPortal } from "../../src/lab/devPortal/DevPortal.ts"
import type { Action, Authorization, Role } from "../../src/lab/devPortal/portalState.ts"
import type { Refused, RelayTicket, Ticket } from "../../src/lab/devPortal/upgrade.ts"
import { key } from "../config/fixtures.ts"

export const portalFile = `
listen: 127.0.0.1:8081
gateways: { office: { token: gateway-secret }, lab: { token: lab-secret } }
clients: { alice: { token: alice-secret }, bob: { token: bob-secret } }
resources:
  gitlab: { name: "*.corp.internal", ports: [tcp/22, udp/8000-8100, icmp], gateways: [office] }
  net: { cidr: 10.20.0.0/16, gateways: [office] }
  all: { internet: true, gateways: [lab], allow: [bob] }
relays:
  one: { addresses: ["192.0.2.1:3478", "[2001:db8::1]:3478"], username: u, password: p }
expires_after: 3600
upstream_dns: [192.0.2.53]
`

export const portalConfig = (file = portalFile) => Result.getOrThrow(parsePortalConfig(file, "portal.yaml"))

interface Message {
  readonly topic: string
  readonly event: string
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly payload: any
  readonly ref: number | string | null
}

export interface Peer {
  readonly socket: number
  readonly publicKey: string
  /** Messages that came and were not taken yet. */
  readonly inbox: Array<Message>
  readonly closed: { code: number; reason: string } | null
  readonly send: (event: string, payload: unknown, topic?: string) => number
  readonly raw: (text: string) => void
  /** Takes the first message of that event; fails when there is none. */
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly take: (event: string) => any
  /** Device id, as the portal's operator sees it. */
  readonly id: string
}

export interface ConnectOptions {
  readonly token?: string
  readonly headerToken?: string
  readonly publicKey?: string
  readonly name?: string
  readonly externalId?: string
  readonly endpoint?: 1 | 2
  readonly userAgent?: string
  readonly join?: boolean
}

export const portalWorld = (file = portalFile, saved: ReadonlyArray<Authorization> = []) => {
  let seed = 0
  const random = (length: number) =>
    Uint8Array.from({ length }, () => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0) >>> 24)
  const portal = new DevPortal(portalConfig(file), random, saved)
  const world = { now: 1_800_000_000_000 }
  const peers = new Map<number, Peer & { closed: Peer["closed"] }>()
  const logs: Array<string> = []
  const settle = () => {
    for (const action of portal.take()) perform(action)
  }
  const perform = (action: Action) => {
    if (action._tag === "Log") return void logs.push(`${action.level}: ${action.message}`)
    const peer = peers.get(action.socket)
    if (peer === undefined) return
    if (action._tag === "Close") peer.closed = { code: action.code, reason: action.reason }
    else if (peer.closed === null) peer.inbox.push(JSON.parse(action.text) as Message)
  }
  const ask = (role: Role, options: ConnectOptions = {}) => {
    const query = new URLSearchParams({
      ...(options.headerToken === undefined ? { token: options.token ?? defaultToken[role] } : {}),
      public_key: options.publicKey ?? key(role === "gateway" ? 1 : 2),
      external_id: options.externalId ?? `${role}-1`,
      name: options.name ?? `${role}-one`
    })
    const result = portal.check({
      url: `/${role}/${options.endpoint === 2 ? "v2/" : ""}websocket?${query.toString()}`,
      headers: {
        "user-agent": options.userAgent ?? "Debian/12 gateway/1.4.19 (x86_64; 6.1.0)",
        ...(options.headerToken === undefined ? {} : { "x-authorization": `Bearer ${options.headerToken}` })
      },
      remote: "198.51.100.9"
    })
    settle()
    return result
  }
  /** Opens the socket of who was let in. */
  const enter = (ticket: Ticket | RelayTicket, topic: string, id: string, publicKey: string) => {
    const socket = portal.open(ticket, world.now)
    let ref = 0
    const inbox: Array<Message> = []
    const raw = (text: string) => {
      portal.receive(socket, text, world.now)
      settle()
    }
    const send = (event: string, payload: unknown, to = topic) => {
      raw(JSON.stringify({ topic: to, event, payload, ref: ref++ }))
      return ref - 1
    }
    const take = (event: string) => {
      const at = inbox.findIndex((message) => message.event === event)
      assert.isAtLeast(at, 0, `no ${event} among ${inbox.map((m) => m.event).join(", ")}`)
      const [message] = inbox.splice(at, 1)
      return event === "phx_reply" ? { ...message!.payload, ref: message!.ref } : message!.payload
    }
    const peer = { socket, publicKey, id, inbox, closed: null, send, raw, take }
    peers.set(socket, peer)
    settle()
    return peer
  }
  const connect = (role: Role, options: ConnectOptions = {}): Peer => {
    const ticket = ask(role, options)
    if (ticket._tag !== "Ticket") throw new Error(`refused: ${JSON.stringify(ticket)}`)
    const peer = enter(ticket, role, ticket.peer.device.id, ticket.peer.publicKey)
    if (options.join !== false) {
      peer.send("phx_join", null)
      assert.deepStrictEqual(peer.take("phx_reply"), { status: "ok", response: {}, ref: 0 })
    }
    return peer
  }
  const askAsRelay = (query: Readonly<Record<string, string>>) => {
    const url = `/relay/websocket?${new URLSearchParams(query).toString()}`
    const result = portal.check({ url, headers: { "user-agent": "Linux/6.1 relay/1.5.0 (x86_64)" }, remote: "::1" })
    settle()
    return result
  }
  /** A relay that has not joined yet. */
  const connectRelay = (query: Readonly<Record<string, string>>): Peer => {
    const ticket = askAsRelay(query)
    if (ticket._tag !== "RelayTicket") throw new Error(`refused: ${JSON.stringify(ticket)}`)
    return enter(ticket, "relay", ticket.peer.id, "")
  }
  return {
    portal,
    logs,
    connect,
    connectRelay,
    relayRefusal: (query: Readonly<Record<string, string>>): Refused => {
      const result = askAsRelay(query)
      assert.strictEqual(result._tag, "Refused")
      return result as Refused
    },
    refusal: (role: Role, options: ConnectOptions = {}): Refused => {
      const result = ask(role, options)
      assert.strictEqual(result._tag, "Refused")
      return result as Refused
    },
    close: (peer: Peer) => {
      portal.closed(peer.socket, world.now)
      settle()
    },
    command: (command: Command) => {
      const result = portal.command(command, world.now)
      settle()
      return result
    },
    advance: (ms: number) => {
      for (let left = ms; left > 0; left -= 1000) {
        world.now += Math.min(left, 1000)
        portal.tick(world.now)
        settle()
      }
    },
    now: () => world.now
  }
}

const defaultToken = { gateway: "gateway-secret", client: "alice-secret" }
