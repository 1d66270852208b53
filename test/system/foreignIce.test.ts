/** Our ICE agent against another implementation (werift), over real sockets on the loopback. */
import { randomFillSync } from "node:crypto"
import { createSocket, type Socket } from "node:dgram"
import { once } from "node:events"
import { assert, describe, it } from "@effect/vitest"
import { Candidate as ForeignCandidate, Connection } from "werift-ice"
import { formatCandidate, localCandidate, parseCandidate } from "../../src/ice/candidate.ts"
import type { IcePath } from "../../src/ice/candidatePair.ts"
import { IceAgent } from "../../src/ice/IceAgent.ts"
import type { IceRole } from "../../src/ice/iceMessages.ts"
import { looksLikeStun, parseStun } from "../../src/ice/stun.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { transportAddress } from "../../src/packet/transportAddress.ts"

const loopback = "127.0.0.1"

/** Our side: an agent on a socket, with the machine's clock. */
class Ours {
  readonly agent: IceAgent
  readonly candidate: string
  /** What was no STUN. */
  readonly data: Array<string> = []
  private readonly socket: Socket
  private timer: NodeJS.Timeout | undefined

  static async open(role: IceRole, remote: { readonly username: string; readonly password: string }): Promise<Ours> {
    const socket = createSocket("udp4").bind(0, loopback)
    await once(socket, "listening")
    return new Ours(socket, role, remote)
  }

  private constructor(socket: Socket, role: IceRole, remote: { readonly username: string; readonly password: string }) {
    this.socket = socket
    const here = transportAddress(loopback, socket.address().port)!
    const mine = localCandidate("host", here)
    this.candidate = formatCandidate(mine)
    this.agent = new IceAgent({
      role,
      local: { username: "ours", password: "a-password-of-22-chars" },
      remote,
      tieBreaker: Uint8Array.from(randomFillSync(new Uint8Array(8))),
      randomBytes: (out) => void randomFillSync(out),
      now: performance.now(),
      transmit: (path, bytes) => this.send(path, bytes),
      nominated: () => {},
      failed: () => {}
    })
    socket.on("message", (bytes, from) => {
      const message = looksLikeStun(bytes) ? parseStun(bytes) : undefined
      if (message === undefined) this.data.push(bytes.toString())
      else this.agent.handle(message, here, transportAddress(from.address, from.port)!, performance.now())
      this.wake()
    })
    this.agent.addLocal(mine, performance.now())
    this.wake()
  }

  hear(text: string): void {
    this.agent.addRemote(parseCandidate(text)!.candidate, performance.now())
    this.wake()
  }

  say(text: string): void {
    this.send(this.agent.path!, Buffer.from(text))
  }

  close(): void {
    clearTimeout(this.timer)
    this.socket.close()
  }

  private send(path: IcePath, bytes: Uint8Array): void {
    this.socket.send(bytes, path.remote.port, formatAddress(path.remote.address))
  }

  private wake(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(
      () => {
        this.agent.advance(performance.now())
        this.wake()
      },
      Math.min(1_000, Math.max(0, this.agent.nextDeadline() - performance.now()))
    )
  }
}

const until = async (what: string, condition: () => boolean) => {
  for (const end = performance.now() + 15_000; !condition();) {
    assert.isBelow(performance.now(), end, `waited too long: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A foreign connection with its candidates on the loopback gathered, none from a STUN server. */
const gather = async (controlling: boolean) => {
  const theirs = new Connection(controlling, {
    useIpv6: false,
    interfaceAddresses: { udp4: loopback },
    additionalHostAddresses: [loopback]
  })
  delete theirs.stunServer
  await theirs.gatherCandidates()
  return { theirs, candidates: theirs.localCandidates.filter((candidate) => candidate.host === loopback) }
}

describe("an ICE agent beside another implementation", { concurrent: true }, () => {
  for (const role of ["controlled", "controlling"] as const) {
    it(`as the ${role} side connects, carries data both ways, and answers the checks that follow`, async () => {
      const { candidates, theirs } = await gather(role === "controlled")
      const ours = await Ours.open(role, { username: theirs.localUsername, password: theirs.localPassword })
      try {
        const heard: Array<string> = []
        theirs.onData.subscribe((data) => void heard.push(data.toString()))
        theirs.setRemoteParams({ iceLite: false, usernameFragment: "ours", password: "a-password-of-22-chars" })
        assert.isNotEmpty(candidates)

        for (const candidate of candidates) ours.hear(`candidate:${candidate.toSdp()}`)
        await theirs.addRemoteCandidate(ForeignCandidate.fromSdp(ours.candidate.slice("candidate:".length)))
        await theirs.addRemoteCandidate(undefined)
        await theirs.connect()
        await until("a path", () => ours.agent.path !== null)

        assert.strictEqual(ours.agent.state, "connected")
        ours.say("from us")
        await theirs.send(Buffer.from("from them"))
        await until("data", () => heard.length > 0 && ours.data.length > 0)
        assert.deepStrictEqual([heard, ours.data], [["from us"], ["from them"]])
        // Their consent checks come every 4 to 6 s.
        const answered = theirs.nominated!.responsesReceived
        await until("an answered check", () => theirs.nominated!.responsesReceived > answered)
        assert.strictEqual(theirs.state, "connected")
        assert.strictEqual(ours.agent.state, "connected")
      } finally {
        ours.close()
        await theirs.close()
      }
    })

    it(`as the ${role} side does not connect to one with another password`, async () => {
      const { candidates, theirs } = await gather(role === "controlled")
      const ours = await Ours.open(role, { username: theirs.localUsername, password: `${theirs.localPassword}x` })
      try {
        theirs.setRemoteParams({ iceLite: false, usernameFragment: "ours", password: "another-password-22-ch" })
        for (const candidate of candidates) ours.hear(`candidate:${candidate.toSdp()}`)
        await theirs.addRemoteCandidate(ForeignCandidate.fromSdp(ours.candidate.slice("candidate:".length)))
        void theirs.connect().catch(() => {})

        await new Promise((resolve) => setTimeout(resolve, 2_000))

        assert.strictEqual(ours.agent.state, "checking")
        assert.isNull(ours.agent.path)
        assert.isUndefined(theirs.nominated)
      } finally {
        ours.close()
        await theirs.close()
      }
    })
  }
})
