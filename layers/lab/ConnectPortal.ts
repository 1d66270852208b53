/** `sallyport connect --portal`: a client of a portal on the same engine, as far as tests and benches need one. */
import { randomBytes } from "node:crypto"
import * as os from "node:os"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type { PortalClientConfig } from "../../src/lab/client/clientEnvironment.ts"
import type { Action } from "../../src/lab/client/actions.ts"
import { ClientSession, everything } from "../../src/lab/client/ClientSession.ts"
import {
  type ClientMessage,
  decodeClientMessage,
  decodeRefusal,
  decodeReply
} from "../../src/lab/client/portalMessages.ts"
import type { Decoded } from "../../src/control/firezone/messages.ts"
import { ControlPlaneEnded } from "../../src/control/ControlPlane.ts"
import { clientVersions } from "../../src/control/firezone/announcedVersion.ts"
import { clientPolicy } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../src/dns/tunnelAnswer.ts"
import { handleQuery } from "../../src/dns/tunnelServer.ts"
import { DnsSockets } from "../../src/host/DnsSockets.ts"
import { HostNetwork } from "../../src/host/HostNetwork.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { tellingFirst } from "../cli/stopping.ts"
import * as DataPlaneLive from "../dataplane/DataPlane.ts"
import * as DnsSocketsLive from "../host/DnsSockets.ts"
import { type DefaultRoute, makeDefaultRoute, ownMark } from "./defaultRoute.ts"
import { makeHostCandidates } from "../host/hostCandidates.ts"
import * as ForeignNetworksLive from "../host/ForeignNetworks.ts"
import * as HostNetworkLive from "../host/HostNetwork.ts"
import { ipv6Missing } from "../host/hostSysctl.ts"
import * as IpFamiliesLive from "../host/IpFamilies.ts"
import { x25519Public } from "../dataplane/nodePrimitives.ts"
import { configurePortalClient, type PortalClientAddresses, sentinels } from "./PortalClientNetwork.ts"
import { makePortalLink } from "../control/firezone/portalLink.ts"
import * as PortalSocketLive from "../host/PortalSocket.ts"

const device = "sallyport-c0"
/** As the clients of the portal; any other port when it is taken. */
const port = 52_625
const mtu = 1_280
/** A client needs no sessions: its end translates nothing. */
const maxSessions = 16
/** A question waits this long for the gateway to have the name; then the answer goes out all the same. */
const readyMs = 3_000
const tickMs = 500
const answerTtl = 30
/** For the last words to leave the worker. */
const lastWordsMs = 100

/** Runs the client until interrupted. */
export const runConnectPortal = (config: PortalClientConfig) => {
  const privateKey = new Uint8Array(randomBytes(32))
  const publicKey = Buffer.from(x25519Public(privateKey)).toString("base64")
  const { apiUrl, token } = config
  const name = config.name ?? os.hostname()
  return run(config).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(
        DataPlaneLive.layer({ device, port, portFallback: true, privateKey, mtu, maxSessions, mark: ownMark }),
        DnsSocketsLive.layer(),
        HostNetworkLive.layer,
        PortalSocketLive.layer({
          role: "client",
          apiUrl,
          endpoint: config.generation === "C" ? "v2" : "v1",
          version: clientVersions[config.generation],
          token,
          publicKey,
          firezoneId: config.firezoneId ?? name,
          name,
          host: { os: os.type(), osVersion: os.release().split("-")[0]!, arch: os.machine(), kernel: os.release() }
        })
      ).pipe(Layer.provideMerge([ForeignNetworksLive.layer, IpFamiliesLive.layer]))
    )
  )
}

const run = Effect.fnUntraced(function* ({ generation, internet }: PortalClientConfig) {
  const dataPlane = yield* DataPlane
  const host = yield* HostNetwork
  const session = new ClientSession({
    internet,
    generation,
    random: (length) => new Uint8Array(randomBytes(length))
  })
  const defaultRoute = yield* makeDefaultRoute
  const ended = yield* Deferred.make<never, ControlPlaneEnded>()
  const wanted = yield* Queue.sliding<PortalClientAddresses>(1)
  /** Questions that wait for their name to be ready. */
  const waiting = new Map<string, Set<Deferred.Deferred<void>>>()

  const perform = Effect.fnUntraced(function* (actions: ReadonlyArray<Action>) {
    for (const action of actions) {
      switch (action._tag) {
        case "Send":
          link.send(action.message)
          break
        case "Command":
          yield* dataPlane.send(action.command)
          break
        case "Configure":
          yield* Queue.offer(wanted, action)
          break
        case "Ready":
          for (const question of waiting.get(action.domain) ?? []) yield* Deferred.succeed(question, undefined)
          break
        case "Log":
          yield* Effect.logInfo(action.message)
          break
        case "End":
          yield* Deferred.fail(
            ended,
            new ControlPlaneEnded({ message: `the portal ended this client: ${action.reason}` })
          )
      }
    }
  })

  const handle = (message: ClientMessage) =>
    Effect.flatMap(monotonicMillis, (now) => perform(session.handle(message, now)))

  const told = Effect.fnUntraced(function* (event: string, decoded: Decoded<ClientMessage>) {
    if (decoded._tag === "Message") yield* handle(decoded.message)
    else if (decoded._tag === "Malformed") yield* Effect.logWarning(`the portal's ${event}: ${decoded.problem}`)
  })

  const moved = yield* Queue.sliding<void>(1)
  const candidates = yield* makeHostCandidates
  const tellCandidates = Effect.catch(candidates.tell, (error) => Effect.logWarning(error.message))

  const link = yield* makePortalLink({
    channel: { topic: "client", answers: generation === "A" },
    legacy: false,
    maxPartition: Duration.days(1),
    onMessage: (event, payload) => told(event, decodeClientMessage(event, payload)),
    onReply: (reply) => {
      if (reply._tag === "Answered") return told(reply.event, decodeReply(reply.event, reply.request, reply.response))
      const refusal = decodeRefusal(reply.request, reply.reason)
      return refusal === null ? Effect.void : handle(refusal)
    },
    onJoined: Effect.fnUntraced(function* ({ localAddress, remoteAddress }) {
      yield* perform(session.joined())
      if (internet && remoteAddress !== null) {
        yield* Effect.catch(defaultRoute.spare(remoteAddress), (error) => Effect.logWarning(error.message))
      }
      candidates.setReachedFrom(localAddress)
      yield* tellCandidates
    }),
    // A gateway that is away is nothing odd: the session says so and asks again.
    onOdd: (kind, message) => (kind === "refused offline" ? Effect.void : Effect.logWarning(message))
  })

  const lookup = Effect.fnUntraced(function* ({ domain, family }: TunnelQuestion): Effect.fn.Return<TunnelAnswer> {
    const answer = session.ask(domain, yield* monotonicMillis)
    if (answer === null) return { _tag: "Refused" }
    yield* perform(answer.actions)
    if (!answer.ready) yield* untilReady(waiting, domain)
    return family === null
      ? { _tag: "NoData", ttl: answerTtl }
      : { _tag: "Addresses", addresses: answer.proxyIps, ttl: answerTtl }
  })

  yield* dataPlane.send(clientPolicy)
  const tell = (notice: Notice) => Effect.flatMap(monotonicMillis, (now) => perform(session.notice(notice, now)))
  yield* forEachNotice("Client.notices", {
    CandidateFound: tell,
    CandidateLost: tell,
    RelayLost: tell,
    ConnectionLost: tell,
    ClientState: tell,
    Control: tell,
    Prohibited: tell,
    Fault: ({ message }) => Effect.logWarning(message)
  })
  yield* dataPlane.start
  yield* Effect.logInfo("asking the portal").pipe(Effect.annotateLogs({ generation }))
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      Effect.suspend(() => perform(session.goodbye())),
      Effect.sleep(lastWordsMs)
    )
  )
  const tick = Effect.flatMap(monotonicMillis, (now) => perform(session.tick(now)))
  yield* Effect.forkScoped(superviseForever("Client.tick", Effect.andThen(tick, Effect.sleep(tickMs))))
  const follow = host.changed.pipe(
    Effect.andThen(tellCandidates),
    Effect.andThen(host.ownAddresses),
    // The portal is connected from an address that this host has no more: nothing would come any longer.
    Effect.flatMap((own) => (candidates.hasLost(own) ? Queue.offer(moved, undefined) : Effect.void)),
    Effect.catch((error) => Effect.logWarning(error.message))
  )
  yield* Effect.forkScoped(superviseForever("Client.host", follow))
  const running = Effect.raceAllFirst([
    superviseForever("Client.link", Effect.raceFirst(link.run, Queue.take(moved))),
    Deferred.await(ended),
    dataPlane.failure,
    serveHost(wanted, defaultRoute, (bytes, transport) => handleQuery(bytes, transport, lookup))
  ])
  return yield* tellingFirst(running)
})

const untilReady = (waiting: Map<string, Set<Deferred.Deferred<void>>>, domain: string) =>
  Effect.gen(function* () {
    const ready = yield* Deferred.make<void>()
    const others = waiting.get(domain) ?? new Set()
    waiting.set(domain, others.add(ready))
    yield* Deferred.await(ready).pipe(
      Effect.timeoutOption(readyMs),
      Effect.ensuring(
        Effect.sync(() => {
          others.delete(ready)
          if (others.size === 0) waiting.delete(domain)
        })
      )
    )
  })

/** Sets the device up as the portal says, and once it has addresses serves DNS there. */
const serveHost = Effect.fnUntraced(function* (
  wanted: Queue.Dequeue<PortalClientAddresses>,
  defaultRoute: DefaultRoute,
  answer: (bytes: Uint8Array, transport: "udp" | "tcp") => Effect.Effect<Uint8Array | null>
) {
  const dns = yield* DnsSockets
  const families = yield* IpFamilies
  let current: PortalClientAddresses | null = null
  let hasInternet = false
  for (;;) {
    const next = yield* Queue.take(wanted)
    const networks = next.networks.filter((network) => !everything.includes(network))
    const missing6 = ipv6Missing(device)
    yield* families.found("device", missing6)
    yield* configurePortalClient(device, current, { ...next, networks }, missing6 === null)
    const wantsInternet = networks.length < next.networks.length
    if (wantsInternet) yield* defaultRoute.set(device, next.tunnel4, missing6 === null ? next.tunnel6 : null)
    else if (hasInternet) yield* defaultRoute.clear(device)
    hasInternet = wantsInternet
    if (current === null) {
      yield* dns.serve({
        addresses: sentinels,
        port: 53,
        device: null,
        handler: (bytes, _source, transport) => answer(bytes, transport)
      })
      yield* Effect.logInfo("ready").pipe(
        Effect.annotateLogs({ device, tunnel4: next.tunnel4, tunnel6: next.tunnel6, dns: sentinels[0] })
      )
    }
    current = { ...next, networks }
  }
})
