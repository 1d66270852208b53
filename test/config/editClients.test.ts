import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { addClient, type Edited, removeClient } from "../../src/config/editClients.ts"
import type { ConfigError } from "../../src/config/problem.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { key } from "./fixtures.ts"

const newcomer = { name: "newcomer", publicKey: key(77), presharedKey: key(78), groups: ["eng", "1e3"] }

const edited = (result: Result.Result<Edited, ConfigError>): string =>
  Result.match(result, { onSuccess: ({ text }) => text, onFailure: ({ message }) => assert.fail(message) })

const refused = (result: Result.Result<Edited, ConfigError>): string =>
  Result.match(result, { onSuccess: ({ text }) => assert.fail(text), onFailure: ({ message }) => message })

const files: Readonly<Record<string, string>> = {
  "a block of flow maps": `endpoint: a.b:1\nclients:\n  alice: { public_key: "${key(1)}" } # her laptop\n  # below\nlisten: 5\n`,
  "no final newline": `endpoint: a.b:1\nclients:\n  alice: { public_key: "${key(1)}" }`,
  "Windows line ends": `endpoint: a.b:1\r\nclients:\r\n    alice:\r\n        public_key: "${key(1)}" # x\r\n        groups:\r\n        - eng\r\nlisten: 5\r\n`,
  "one flow map": `endpoint: a.b:1\nclients: { alice: { public_key: "${key(1)}" } } # end`,
  "a flow map over lines with a last comma": `endpoint: a.b:1\nclients: {\n  alice: { public_key: "${key(1)}" },\n}\n`,
  "an empty flow map": `endpoint: a.b:1\nclients: {}\n# end\n`,
  "no value": `endpoint: a.b:1\nlisten: 5 # x\n`,
  "all in brackets": `{ endpoint: "a.b:1", clients: { alice: { public_key: '${key(1)}' } } }\n`,
  anchors: `endpoint: a.b:1\nclients:\n  alice: &a { public_key: "${key(1)}", groups: &g [eng] }\n  bob: { public_key: "${key(2)}", groups: *g }\n\n\n# end\nlisten: 5\n`,
  "quoted keys": `"endpoint": a.b:1\n'clients':\n  "alice": {"public_key": "${key(1)}"}\n`
}

describe("a client that is added", () => {
  for (const [title, text] of Object.entries(files)) {
    it(`leaves every other byte alone, and goes without a trace: ${title}`, () => {
      const added = edited(addClient(text, "s.yaml", newcomer))
      const config = Result.getOrThrow(parseConfig(added, "s.yaml"))
      const client = config.clients.at(-1)

      assert.deepStrictEqual(
        [client?.id as string, client?.publicKey, client?.presharedKey, client?.groups],
        ["newcomer", key(77), key(78), ["eng", "1e3"]]
      )
      const entry = /,? *newcomer: \{[^}]*\} ?/
      assert.match(added, entry)
      if (text.includes("\r\n")) assert.notMatch(added, /[^\r]\n/)
      const hadClients = /alice/.test(text)
      if (hadClients) assert.strictEqual(edited(removeClient(added, "s.yaml", "newcomer")), text)
    })
  }

  it("is refused when its name or key is there, and when the file is wrong", () => {
    const text = files["one flow map"]!
    assert.match(refused(addClient(text, "s.yaml", { ...newcomer, name: "alice" })), /has a client "alice" already/)
    assert.match(refused(addClient(text, "s.yaml", { ...newcomer, publicKey: key(1) })), /same public_key as alice/)
    assert.match(refused(addClient(`${text}\nnope: 1\n`, "s.yaml", newcomer)), /unknown key "nope"/)
  })

  const one = `{ public_key: "${key(1)}" }`
  const odd: Readonly<Record<string, string>> = {
    "seven blanks": `endpoint: a.b:1\nclients:\n       alice: ${one}\n       bob: { public_key: "${key(2)}" }\nlisten: 5\n`,
    "comments between, deeper and shallower": `endpoint: a.b:1\nclients: # all\n  # first\n  alice: ${one}\n      # deeper\n# shallower\n\nlisten: 5\n`,
    "tabs between words and before comments": `endpoint:\ta.b:1\nclients:\t# ours\n  alice:\t${one}\t# hers\nlisten:\t5\n`,
    "a list of groups in lines": `endpoint: a.b:1\nclients:\n  alice:\n    public_key: "${key(1)}"\n    groups: # of hers\n    - eng # first\n    # last\nlisten: 5\n`,
    "text in several lines": `endpoint: a.b:1\nclients:\n  alice:\n    public_key: >-\n      ${key(1)}\n\nlisten: 5\n`,
    "clients that are nothing yet, with a comment": `endpoint: a.b:1\nclients: # none yet\nlisten: 5\n`,
    "clients at the end without a word": `endpoint: a.b:1\nclients:`,
    "marks of a document": `---\nendpoint: a.b:1\nclients:\n  alice: ${one}\n...\n`,
    "an explicit key": `endpoint: a.b:1\n? clients\n: alice: ${one}\nlisten: 5\n`,
    "an anchor on the clients": `endpoint: a.b:1\nclients: &all\n  alice: ${one}\nlisten: 5\n`,
    "a flow map in lines with comments": `endpoint: a.b:1\nclients: { # ours\n  alice: ${one}, # hers\n  # more\n}\nlisten: 5\n`,
    "an empty flow map with a comment": `endpoint: a.b:1\nclients: {\n  # none yet\n}\nlisten: 5\n`,
    "old Mac line ends": `endpoint: a.b:1\rclients:\r  alice: ${one}\r`
  }
  for (const [title, text] of Object.entries(odd)) {
    it(`is put in without touching what is there, or refused with its place: ${title}`, () => {
      const result = addClient(text, "s.yaml", newcomer)
      if (Result.isFailure(result)) return assert.match(result.failure.message, /^s\.yaml:\d+:\d+: .* — /m)
      const added = result.success.text
      let same = 0
      while (same < text.length && text[same] === added[same]) same++
      assert.isTrue(added.endsWith(text.slice(same)), added)
      for (const comment of text.match(/#.*/g) ?? []) assert.include(added, comment)
    })
  }
})

describe("a client that is removed", () => {
  it("takes its lines along and nothing else", () => {
    assert.strictEqual(
      edited(removeClient(files["a block of flow maps"]!, "s.yaml", "alice")),
      "endpoint: a.b:1\nclients: {}\n  # below\nlisten: 5\n"
    )
    assert.strictEqual(
      edited(removeClient(files["one flow map"]!, "s.yaml", "alice")),
      "endpoint: a.b:1\nclients: {  } # end"
    )
  })

  it("stays while a resource names it, or another's anchor is in it", () => {
    const named = `${files["one flow map"]!}\nresources: { x: { cidr: 10.0.0.0/8, allow: [alice] } }\n`
    assert.match(
      refused(removeClient(named, "s.yaml", "alice")),
      /would be wrong.*: s\.yaml.*no client or group is called "alice"/
    )
    assert.match(refused(removeClient(files["anchors"]!, "s.yaml", "alice")), /would be wrong/)
    assert.match(refused(removeClient(named, "s.yaml", "alcie")), /did you mean alice/)
  })

  it("is said to be needed with the place in the file as it is, in one line", () => {
    const lines = files["a block of flow maps"]! + `resources:\n  x: { cidr: 10.0.0.0/8, allow: [alice] }\n`
    assert.match(
      refused(removeClient(lines, "s.yaml", "alice")),
      /^without alice the file would be wrong, and stays as it is: s\.yaml:7:34: no client or group is called "alice" — .+$/
    )
  })
})

const Names = Schema.UniqueArray(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 200 })))

describe("the tunnel addresses of all others", () => {
  it.prop(
    "stay the same through additions and removals, in a range so small that keys collide",
    [Names],
    ([numbers]) => {
      let text = "endpoint: a.b:1\nnetwork: { tunnel_ipv4: 10.9.8.0/27, tunnel_ipv6: fd00::/123 }\nclients: {}\n"
      let before = new Map<string, string>()
      const step = (next: string, name: string) => {
        const config = Result.getOrThrow(parseConfig(next, "s.yaml"))
        const after = new Map(
          config.clients.map((client) => [client.id as string, `${client.tunnel4} ${client.tunnel6}`])
        )
        for (const [other, address] of before) if (other !== name) assert.strictEqual(after.get(other), address)
        before = after
        text = next
      }
      const some = numbers.slice(0, 25)
      for (const n of some) {
        const client = { name: `c${n}`, publicKey: key(n), presharedKey: null, groups: [] }
        step(edited(addClient(text, "s.yaml", client)), client.name)
      }
      for (const n of some.toSorted((a, b) => ((a * 7) % 31) - ((b * 7) % 31))) {
        step(edited(removeClient(text, "s.yaml", `c${n}`)), `c${n}`)
      }
    }
  )
})
