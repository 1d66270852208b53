/** The portal for development: upgrades, frames of gateways and clients, the operator's commands. */
import { Result } from "effect"
import { decodeCommand } from "../../../src/lab/devPortal/commands.ts"
import { parsePortalConfig } from "../../../src/lab/devPortal/configFile.ts"
import { DevPortal } from "../../../src/lab/devPortal/DevPortal.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import type { Role } from "../../../src/lab/devPortal/portalState.ts"
import { key, uuid } from "../../support/portalMessages.ts"
import { jsonWords } from "../jsonWords.ts"
import type { Random } from "../Random.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

const file = `
listen: 127.0.0.1:8081
gateways: { office: { token: gateway-secret } }
clients: { alice: { token: client-secret } }
resources:
  gitlab: { name: "*.corp.internal", ports: [tcp/22, udp/8000-8100, icmp] }
  net: { cidr: 10.20.0.0/16 }
relay_token: relay-secret
relays:
  one: { addresses: ["192.0.2.1:3478", "[2001:db8::1]:3478"], username: u, password: p }
expires_after: 3600
`
const resource = uuidOf("resource", "net")
const gateway = uuidOf("gateway", "office:gateway")
const client = uuidOf("client", "alice:client")
const ice = { username: "u", password: "p" }

type Who = Role | "relay"

class Portal {
  private readonly portal: DevPortal
  private readonly sockets = new Map<Who, number>()
  private now = 1_800_000_000_000
  /** References of requests that gateways have to answer. */
  private refs: ReadonlyArray<string> = []

  constructor(random: Random) {
    const bytes = (length: number) => Uint8Array.from({ length }, () => random.next())
    this.portal = new DevPortal(Result.getOrThrow(parsePortalConfig(file, "portal.yaml")), bytes)
  }

  upgrade(url: string, agent: string): void {
    const token = `${url.split("/")[1]}-secret`
    const headers = { "user-agent": agent, "x-authorization": `Bearer ${token}` }
    const ticket = this.portal.check({ url, headers, remote: "192.0.2.9" })
    if (ticket._tag !== "Refused") {
      const socket = this.portal.open(ticket, this.now)
      const who = ticket._tag === "Ticket" ? ticket.peer.device.role : "relay"
      this.portal.receive(socket, JSON.stringify(frame(who, "phx_join", { stamp_secret: "s" })), this.now)
      this.sockets.set(who, socket)
    }
    this.take()
  }

  /** `@ref` stands for the last request's reference. */
  frame(role: Who, text: string): void {
    const socket = this.sockets.get(role)
    if (socket !== undefined) this.portal.receive(socket, text.replaceAll("@ref", this.refs.at(-1) ?? ""), this.now)
    this.take()
  }

  command(text: string): void {
    const command = decodeCommand(text)
    if (Result.isSuccess(command)) JSON.stringify(this.portal.command(command.success, this.now))
    this.take()
  }

  wait(milliseconds: number): void {
    this.now += milliseconds
    this.portal.tick(this.now)
    this.take()
  }

  private take(): void {
    for (const action of this.portal.take()) {
      if (action._tag === "Close")
        for (const [role, socket] of this.sockets) {
          if (socket !== action.socket) continue
          this.sockets.delete(role)
          this.portal.closed(socket, this.now)
        }
      if (action._tag !== "Send") continue
      const sent = JSON.parse(action.text) as { readonly payload: { readonly ref?: string } }
      if (typeof sent.payload?.ref === "string") this.refs = [sent.payload.ref]
    }
    invariant(!("polluted" in {}), "no prototype is changed")
  }
}

const frame = (topic: string, event: string, payload: unknown) => ({ topic, event, payload, ref: 1 })
const gatewayFrame = (event: string, payload: unknown) => `g${JSON.stringify(frame("gateway", event, payload))}`
const clientFrame = (event: string, payload: unknown) => `c${JSON.stringify(frame("client", event, payload))}`
const candidates = { candidates: ["candidate:1 1 udp 1 192.0.2.1 1 typ host"] }
const command = (value: object) => `!${JSON.stringify(value)}`

const agent = "Debian/12 gateway/1.5.2 (x86_64; 6.1.0)"
const url = (role: Role, n: number) =>
  `/${role}/v2/websocket?public_key=${encodeURIComponent(key(n))}&external_id=${role}&name=${role[0]}`
const gatewayUrl = url("gateway", 1)
const clientUrl = url("client", 2)

export const target: Target = {
  seeds: utf8(
    gatewayUrl,
    clientUrl,
    gatewayUrl.replace("v2/", ""),
    clientUrl.replace("v2/", ""),
    "/relay/websocket?ipv4=192.0.2.7&ipv6=2001%3Adb8%3A%3A7&port=3478",
    `r${JSON.stringify(frame("relay", "phx_join", { stamp_secret: "other" }))}`,
    clientFrame("request_device_access", { ipv4: "100.64.0.9" }),
    clientFrame("create_flow", { resource_id: resource, connected_gateway_ids: [gateway] }),
    clientFrame("request_authorization", { resource_id: resource, connected_gateway_ids: [] }),
    gatewayFrame("flow_authorized", { ref: "@ref" }),
    gatewayFrame("authorization_created", { ref: "@ref" }),
    clientFrame("prepare_connection", { resource_id: resource, connected_gateway_ids: [] }),
    clientFrame("request_connection", {
      gateway_id: gateway,
      resource_id: resource,
      client_preshared_key: key(3),
      client_payload: { ice_parameters: ice, domain: { name: "a.corp.internal", proxy_ips: ["100.96.0.1"] } }
    }),
    clientFrame("reuse_connection", { gateway_id: gateway, resource_id: resource, payload: "a.corp.internal" }),
    gatewayFrame("connection_ready", {
      ref: "@ref",
      gateway_payload: { ConnectionAccepted: { ice_parameters: ice, domain_response: null } }
    }),
    gatewayFrame("broadcast_ice_candidates", { client_ids: [client], ...candidates }),
    gatewayFrame("broadcast_invalidated_ice_candidates", { client_ids: [client, uuid(1)], ...candidates }),
    clientFrame("broadcast_ice_candidates", { gateway_ids: [gateway], ...candidates }),
    clientFrame("new_gateway_ice_candidates", { gateway_id: gateway, ...candidates }),
    gatewayFrame("set_snownet_capabilities", { iceless: true }),
    gatewayFrame("no_relays", {}),
    command({ command: "status" }),
    command({ command: "revoke", client: "c", resource: "net" }),
    command({ command: "update", resource: "net", address: "10.21.0.0/16", ports: ["tcp/1"] }),
    command({ command: "expire", client: "c", resource: "net", at: 1 }),
    command({ command: "relays", relays: {} }),
    command({ command: "refuse", status: 503, times: 2 }),
    ".10"
  ),
  dictionary: [...jsonWords, ...utf8("@ref", resource, gateway, client, "gateway/v2", "%00", "external_id=")],
  maxLength: 4_000,
  lifetime: 200,
  bound: 100,
  start: (random) => {
    const portal = new Portal(random)
    portal.upgrade(gatewayUrl, agent)
    portal.upgrade(clientUrl, agent)
    return (input) => {
      const text = Buffer.from(input).toString("utf8")
      const rest = text.slice(1)
      switch (text[0]) {
        case "g":
          return portal.frame("gateway", rest)
        case "c":
          return portal.frame("client", rest)
        case "r":
          return portal.frame("relay", rest)
        case "!":
          return portal.command(rest)
        case "/":
          return portal.upgrade(text, random.below(8) === 0 ? rest : agent)
        default:
          return portal.wait(Number.parseInt(rest, 10) % 60_000 || 1_000)
      }
    }
  }
}
