/**
 * Many clients at a portal, as a child process in the lab: half of them ask as clients up to 1.3 do, with a name, half as
 * those since 1.4. Arguments: portal URL, token, clients, requests of each, requests a second. Prints `ready`, begins at a
 * line of input, and prints `{"asked","answered"}` 2 s after the last request.
 */
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { WebSocket } from "@effect/platform-node/NodeWS"

const [url = "", token = "", clients = "1", requests = "1", rate = "1"] = process.argv.slice(2)

interface Message {
  readonly event: string
  readonly ref: number | null
  readonly payload: {
    readonly status?: string
    readonly response?: { readonly gateway_id?: string }
    readonly resource_id?: string
    readonly resources?: ReadonlyArray<{ readonly id: string; readonly type: string; readonly address: string }>
  }
}

interface Client {
  readonly ask: (request: number) => void
}

let answered = 0

const open = async (index: number): Promise<Client> => {
  const query = new URLSearchParams({
    token,
    public_key: randomBytes(32).toString("base64"),
    external_id: `fleet-${index}`,
    name: `fleet-${index}`
  })
  const old = index % 2 === 0
  const socket = new WebSocket(`${url}/client/websocket?${query.toString()}`, {
    headers: { "user-agent": `Linux/6.1.0 connlib/${old ? "1.3.0" : "1.4.0"} (x86_64; 6.1.0)` }
  })
  const waiting = new Set<(message: Message) => void>()
  const pending = new Set<number | string>()
  let ref = 0
  const send = (event: string, payload: unknown): number => {
    socket.send(JSON.stringify({ topic: "client", event, payload, ref }))
    return ref++
  }
  const first = (holds: (message: Message) => boolean): Promise<Message> =>
    new Promise((resolve) => {
      const look = (message: Message): void => {
        if (!holds(message)) return
        waiting.delete(look)
        resolve(message)
      }
      waiting.add(look)
    })
  socket.on("message", (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Message
    const { event, payload } = message
    if (event === "flow_created" && pending.delete(payload.resource_id ?? "")) answered++
    if (event === "phx_reply" && payload.status === "ok" && pending.delete(message.ref ?? -1)) answered++
    for (const look of waiting) look(message)
  })
  await once(socket, "open")
  const beginning = first(({ event }) => event === "init")
  send("phx_join", null)
  const { payload } = await beginning
  const resources = (payload.resources ?? []).filter(({ type }) => type === "dns")
  const resource = (request: number) => resources[request % resources.length]!
  if (!old) {
    return {
      ask: (request) => {
        const { id } = resource(request)
        pending.add(id)
        send("create_flow", { resource_id: id, connected_gateway_ids: [] })
      }
    }
  }
  const prepared = first(({ payload: { response } }) => response?.gateway_id !== undefined)
  send("prepare_connection", { resource_id: resource(0).id, connected_gateway_ids: [] })
  const gateway_id = (await prepared).payload.response?.gateway_id
  const ice_parameters = { username: randomBytes(3).toString("hex"), password: randomBytes(12).toString("hex") }
  const client_preshared_key = randomBytes(32).toString("base64")
  return {
    ask: (request) => {
      const { address, id } = resource(request)
      const proxy_ips = [1, 2, 3, 4].map((n) => `100.96.${request}.${n}`)
      const domain = { name: `fleet-${index}.${address.replace("*.", "")}`, proxy_ips }
      const client_payload = { ice_parameters, domain }
      pending.add(send("request_connection", { gateway_id, resource_id: id, client_preshared_key, client_payload }))
    }
  }
}

const fleet = await Promise.all(Array.from({ length: Number(clients) }, (_, index) => open(index)))
console.log("ready")
await once(process.stdin, "data")
const total = Number(clients) * Number(requests)
const startedAt = performance.now()
for (let asked = 0; asked < total; asked++) {
  const due = startedAt + (asked * 1_000) / Number(rate) - performance.now()
  if (due > 0) await sleep(due)
  fleet[asked % fleet.length]!.ask(Math.floor(asked / fleet.length))
}
await sleep(2_000)
console.log(JSON.stringify({ asked: total, answered }))
process.exit(0)
