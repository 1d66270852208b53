import * as dgram from "node:dgram"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { decode } from "../../src/dns/decode.ts"
import { encode } from "../../src/dns/encode.ts"
import { emptyMessage, isMalformed, type Message } from "../../src/dns/message.ts"
import { recordType } from "../../src/dns/registry.ts"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import { bindBoth } from "./dnsServer.ts"

interface OddQuestion {
  readonly query: Message
  readonly transport: "udp" | "tcp"
  readonly type: number
}

/** What a server sends, byte for byte; nothing is silence, `null` closes a connection. */
export type OddAnswer = (question: OddQuestion) => ReadonlyArray<Uint8Array> | null

export interface OddServer {
  readonly server: ResolverServer
  readonly asked: ReadonlyArray<OddQuestion>
}

/** A server that is wrong in any way, on one port of the loopback over UDP and, unless told, TCP. */
export const oddDnsServer = (
  answer: OddAnswer,
  { tcp: overTcp = true } = {}
): Effect.Effect<OddServer, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const asked: Array<OddQuestion> = []
        const take = (bytes: Uint8Array, transport: "udp" | "tcp") => {
          const query = decode(bytes)
          if (isMalformed(query) || query.questions[0] === undefined) return []
          const question = { query, transport, type: query.questions[0].type }
          asked.push(question)
          return answer(question)
        }
        const udp = dgram.createSocket("udp4")
        udp.on("message", (bytes, from) => {
          for (const reply of take(bytes, "udp") ?? []) udp.send(reply, from.port, from.address)
        })
        const sockets = new Set<net.Socket>()
        const tcp = net.createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => socket.destroy())
          // Each question is in a segment of its own here: none is sent before the last one is answered.
          socket.on("data", (bytes: Buffer) => {
            const replies = take(bytes.subarray(2), "tcp")
            if (replies === null) socket.destroy()
            for (const reply of replies ?? [])
              socket.write(Buffer.from([reply.length >> 8, reply.length & 255, ...reply]))
          })
        })
        const port = await bindBoth(tcp, udp, "127.0.0.1", 0)
        // What is sent there is refused then, as where nobody ever listened.
        if (!overTcp) await new Promise((resolve) => tcp.close(resolve))
        const close = (): void => {
          udp.close()
          for (const socket of sockets) socket.destroy()
          if (tcp.listening) tcp.close()
        }
        return { server: { transport: "udp", address: "127.0.0.1", port } as const, asked, close }
      }),
      ({ close }) => Effect.sync(close)
    ),
    ({ asked, server }) => ({ asked, server })
  )

/** A good answer with one address, and what is wrong with it. */
export const replyTo = (query: Message, over: Partial<Message> = {}): Uint8Array => {
  const question = query.questions[0]!
  const data = { _tag: "Address", address: question.type === recordType.A ? "10.0.0.1" : "fd00::1" } as const
  const bytes = encode({
    ...emptyMessage,
    id: query.id,
    response: true,
    recursionAvailable: true,
    questions: query.questions,
    answers: [{ name: question.name, type: question.type, class: 1, ttl: 60, data }],
    edns: query.edns === null ? null : { udpPayloadSize: 1232, version: 0, dnssecOk: false, options: [] },
    ...over
  })
  if (bytes === null) throw new Error("the reply cannot be written")
  return bytes
}
