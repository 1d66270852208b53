/** What the operator's commands say to wrong words and wrong files, as processes: a line with cause and fix, and nothing changed. */
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { key } from "../config/fixtures.ts"

const bin = fileURLToPath(new URL("../../src/bin.ts", import.meta.url))
const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "wrong-"))

const confWith = (endpoint: string): string =>
  `[Interface]\nPrivateKey = ${key(3)}\nAddress = 100.64.0.9\n[Peer]\nPublicKey = ${key(4)}\nAllowedIPs = 100.64.0.0/11\nEndpoint = ${endpoint}\n`

const files: Readonly<Record<string, string>> = {
  "s.yaml": `endpoint: 192.0.2.1:51820
clients:
  alice: { public_key: "${key(1)}", groups: [eng] }
  bob: { public_key: "${key(2)}" }
resources:
  lab: { cidr: 10.20.0.0/16, allow: [eng] }
state_dir: ${directory}/state
control_socket: ${directory}/sock
`,
  "broken.yaml": "endpoint: 192.0.2.1:51820\nclinets: {}\n",
  "utf16.yaml": "e\0n\0d\0p\0o\0i\0n\0t\0:\0 \0a\0.\0b\0:\x001\0",
  "a.conf": confWith("192.0.2.1:1"),
  "b.conf": confWith("nowhere")
}

/** Exit code 2: the words are wrong, whatever is there. */
const wrongWords: ReadonlyArray<readonly [line: string, says: RegExp]> = [
  ["client ad bob", /"ad" is no command — did you mean add\?$/],
  ["client add", /^sallyport: name is missing — see sallyport client add --help$/],
  ["client add a/b", /^sallyport: name: "a\/b" is not a name — /],
  ["client add carol dave", /"dave" is more than sallyport client add takes/],
  ["client add carol --group a,b", /^sallyport: --group: "a,b" is not a name/],
  ["client add carol --group", /^sallyport: --group has no value/],
  ["client add carol --groups eng", /"--groups" is no flag of .* — did you mean --group\?$/],
  ["client add carol --public-key abc", /^sallyport: --public-key: not a WireGuard key/],
  [`client add carol --public-key ${key(5)} --qr`, /--qr needs the private key, .* — leave out --public-key or --qr$/],
  ["client add carol --qr --out $D/x", /^sallyport: --qr and --out exclude each other — name one of them$/],
  [`client add carol --gateway-key x`, /^sallyport: --gateway-key: not a WireGuard key/],
  ["client remove", /name is missing/],
  ["client remove bob --force", /"--force" is no flag of sallyport client remove/],
  ["client list alice", /"alice" is more than sallyport client list takes/],
  ["client-config bob --dns some", /^sallyport: --dns: "some" does not fit — /],
  ["client-config bob --dns split --qr", /--dns split is for wg-quick on Linux, and --qr for a phone/],
  ["init --endpoint host:99999", /^sallyport: --endpoint: "host:99999" is not host:port — /],
  ["reload --jsn", /"--jsn" is no flag of sallyport reload — did you mean --json\?$/],
  ["log --folow", /did you mean --follow\?$/],
  ["log --client", /--client has no value/],
  ["status --chek", /did you mean --check\?$/],
  ["status --check --json", /^sallyport: --check and --json exclude each other — name one of them$/],
  ["status alice bob", /"bob" is more than sallyport status takes/],
  ["backup", /file is missing/],
  ["explain alice", /^sallyport: target is missing — see sallyport explain --help$/],
  ["explain alice a:b:c", /^sallyport: target: "a:b:c" is neither a name nor an address — write for example /],
  ["doctor now", /"now" is more than sallyport doctor takes/],
  ["bugreport --json", /"--json" is no flag of sallyport bugreport/],
  ["key rotat", /"rotat" is no command — did you mean rotate\?$/],
  ["key rotate --until soon", /"--until" is no flag of sallyport key rotate/],
  ["key rotate --finish --cancel", /^sallyport: --finish and --cancel exclude each other — name one of them$/],
  ["vip-notify", /^sallyport: state is missing — see sallyport vip-notify --help$/],
  ["vip-notify MASTR", /^sallyport: state: "MASTR" names none — write one of MASTER, BACKUP, FAULT, /],
  ["vip-notify INSTANCE VI_1 MASTER 100 200", /"200" is more than sallyport vip-notify takes/],
  ["forget-gateway", /^sallyport: number is missing — see sallyport forget-gateway --help$/],
  ["forget-gateway 40000", /^sallyport: number: 40000 is no gateway's — they go from 0 to 255, /],
  ["restore a b", /"b" is more than sallyport restore takes/],
  ["import", /^sallyport: file is missing — see sallyport import --help$/],
  ["import $D/copy", /--of is missing/],
  ["connect", /connect takes either a file or --portal — name one of them$/],
  ["connect $D/a.conf --portal", /either a file or --portal/],
  ["connect --portal --dns", /--device and --dns are for a file — leave them out with --portal$/],
  [
    "connect $D/a.conf --device a-name-that-is-too-long",
    /^sallyport: --device: .* is not a device name — use at most 15/
  ],
  ["connect $D/a.conf --dns all", /"all" is more than sallyport connect takes/]
]

/** Exit code 1: what is there says no. */
const refused: ReadonlyArray<readonly [line: string, says: RegExp]> = [
  [
    `client add alice --gateway-key ${key(8)}`,
    /s\.yaml has a client "alice" already — take another name, or remove it/
  ],
  [`client add carol --public-key ${key(1)} --gateway-key ${key(8)}`, /:\d+:\d+: .*same public_key as alice/],
  [`client add carol --gateway-key ${key(8)} --out $D/s.yaml`, /s\.yaml cannot be written \(AlreadyExists\) — name a/],
  [`client add carol --gateway-key ${key(8)} --out $D/no/where`, /no\/where cannot be written \(NotFound\) — /],
  ["client add carol", /the gateway's public key is unknown: no gateway is running .*; or give it with --gateway-key$/],
  [`client add carol -c $D/none.yaml`, /none\.yaml does not exist — make it with sallyport init, or name another/],
  [`client add carol -c $D`, / is a directory — name the file in it$/],
  [`client add carol -c $D/broken.yaml`, /^\S+broken\.yaml:2:1: unknown key "clinets" — did you mean clients\?$/],
  [`client add carol --gateway-key ${key(8)} -c $D/utf16.yaml`, /utf16\.yaml is not UTF-8, .* — save it as that$/],
  ["client remove alcie", /no client is called "alcie" in \S+s\.yaml — did you mean alice\?$/],
  ["client remove alice", /without alice the file would be wrong, .*s\.yaml:6:38: .*"eng"/],
  ["client show bobb", /no client is called "bobb" in \S+ — did you mean bob\?$/],
  ["client-config bobb", /no client is called "bobb"/],
  ["client-config bob", /the gateway's public key is unknown/],
  [`client-config bob --qr --gateway-key ${key(8)}`, /standard input is not a WireGuard key .*try: .*--qr < bob\.key$/],
  ["init -c $D/s.yaml", /s\.yaml is there already and stays as it is — name another file with --config$/],
  ["init -c /proc/nowhere/s.yaml", /\/proc\/nowhere\/s\.yaml cannot be written \(\w+\) — /],
  ["reload", /no gateway is running \(nothing at \S+sock\) — start it/],
  ["reload --socket $D/s.yaml", /s\.yaml is not a socket — name the gateway's control socket$/],
  ["log --follow", /no gateway is running/],
  [
    "explain alice a.corp --socket $D/none -c $D/none.yaml",
    /^sallyport: no gateway is running \(nothing at \S+none\) — /
  ],
  [
    "explain alice a.corp --socket $D/none -c $D/broken.yaml",
    /^\S+broken\.yaml:2:1: unknown key "clinets" — did you mean/
  ],
  ["status --check", /no gateway is running/],
  ["key rotate", /nothing was changed, as the key is rotated by the running gateway: no gateway is running/],
  ["vip-notify MASTER", /^sallyport: no gateway is running \(nothing at \S+sock\) — start it/],
  ["vip-notify --socket $D/s.yaml INSTANCE VI_1 MASTER 100", /s\.yaml is not a socket — name the gateway's control/],
  ["backup $D/copy", /^sallyport: there is no state in \S+state: name the configuration of the gateway with -c$/],
  ["restore $D/none", /^sallyport: \S+none does not exist: check the path$/],
  ["restore $D/a.conf", /^sallyport: \S+a\.conf is damaged or not a state file: /],
  ["import $D/copy --of $D/none.yaml", /none\.yaml does not exist — /],
  ["import $D/copy --of $D/s.yaml", /^sallyport: there is no state in \S+state: start the gateway once before$/],
  ["connect $D/none.conf", /none\.conf does not exist — /],
  ["connect $D/b.conf", /^\S+b\.conf:7:1: Endpoint: "nowhere" is not host:port — /]
]

const asks =
  /^(?:client(?:-config)?|init|reload|log|status|backup|restore|import|explain|doctor|bugreport|key|vip-notify|forget-gateway) /
/** The configuration, where the row names none. */
const complete = (line: string): ReadonlyArray<string> =>
  `${line}${asks.test(`${line} `) && !/ -c | --socket /.test(line) ? " -c $D/s.yaml" : ""}`
    .split(" ")
    .map((word) => word.replace("$D", directory))

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

const run = (line: string) =>
  new Promise<Ended>((resolve) => {
    const env = { ...process.env, SALLYPORT_CONFIG: undefined, FIREZONE_TOKEN: undefined }
    const child = execFile(process.execPath, [bin, ...complete(line)], { env, timeout: 60_000 }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err })
    )
    child.stdin?.end()
  })

const there = () =>
  Fs.readdirSync(directory)
    .toSorted()
    .map((name) => [name, Fs.readFileSync(Path.join(directory, name), "utf8")])

describe("a wrong use of the operator's commands", () => {
  const ended = new Map<string, Ended>()
  beforeAll(async () => {
    for (const [name, text] of Object.entries(files)) {
      Fs.writeFileSync(Path.join(directory, name), text, { mode: 0o600 })
    }
    const lines = [...wrongWords, ...refused].map(([line]) => line)
    const worker = async () => {
      for (let line = lines.pop(); line !== undefined; line = lines.pop()) ended.set(line, await run(line))
    }
    await Promise.all([worker(), worker()])
  }, 300_000)
  afterAll(() => Fs.rmSync(directory, { recursive: true }))

  for (const [code, rows] of [
    [2, wrongWords],
    [1, refused]
  ] as const) {
    for (const [line, says] of rows) {
      it(`ends with ${code} and one line: ${line}`, () => {
        const { code: ending, err, out } = ended.get(line)!

        assert.deepStrictEqual([ending, out], [code, ""], err)
        assert.match(err, /^[^\n]+\n$/)
        assert.match(err.trimEnd(), says)
        assert.notMatch(err, /\bat \S+:\d+:\d+\)|node:internal|Effect\b/)
      })
    }
  }

  it("changes nothing, and leaves nothing behind", () => {
    assert.deepStrictEqual(
      there(),
      Object.entries(files).toSorted(([a], [b]) => (a < b ? -1 : 1))
    )
  })
})
