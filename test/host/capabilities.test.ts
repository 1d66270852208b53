import { assert, describe, it } from "@effect/vitest"
import { heldPrivileges, neededCapabilities, pathsIn, type PathFacts } from "../../src/host/capabilities.ts"

/** As in linux/capability.h. */
const [dacOverride, dacReadSearch, fowner] = [1n << 1n, 1n << 2n, 1n << 3n] as const
const [netBindService, netAdmin, netRaw, sysNice] = [1n << 10n, 1n << 12n, 1n << 13n, 1n << 23n] as const
const least = netAdmin | netBindService | sysNice
const root = { uid: 0, mode: 0o755 }
const path = (part: Partial<PathFacts>): PathFacts => ({ way: [root], end: null, written: false, ...part })
const needed = (...paths: ReadonlyArray<PathFacts>) => neededCapabilities(0, "6.1.0-13-amd64", paths)

describe("what a gateway keeps of the superuser's power", () => {
  it("is the network, low ports and scheduling where its files are its own or open to all", () => {
    assert.strictEqual(needed(), least)
    assert.strictEqual(
      needed(
        path({ end: { uid: 0, mode: 0o600 }, written: true }),
        path({ end: { uid: 1000, mode: 0o644 } }),
        path({ way: [root, { uid: 1000, mode: 0o711 }] })
      ),
      least
    )
  })

  it("is more where another user's files are to be read or written", () => {
    assert.strictEqual(needed(path({ end: { uid: 1000, mode: 0o600 } })), least | dacReadSearch)
    assert.strictEqual(needed(path({ way: [root, { uid: 1000, mode: 0o700 }] })), least | dacReadSearch)
    assert.strictEqual(needed(path({ end: { uid: 1000, mode: 0o755 }, written: true })), least | dacOverride | fowner)
  })

  it("is raw sockets, too, on kernels that want them for a socket bound to a device", () => {
    assert.strictEqual(neededCapabilities(0, "5.4.0", []), least | netRaw)
    assert.strictEqual(neededCapabilities(0, "4.18.0-553.el8", []), least | netRaw)
    assert.strictEqual(neededCapabilities(0, "5.6.19", []), least | netRaw)
    assert.strictEqual(neededCapabilities(0, "5.7.0", []), least)
  })
})

describe("the paths that a file names", () => {
  it("are its absolute ones, no networks and no parts of URLs", () => {
    const text = `state_dir: /srv/state\ncontrol_socket: "/run/a b.sock"\ncidr: 10.0.0.0/8\nurl: https://a.example/x\nstate: postgres://a/b?password_file=/etc/p&sslrootcert=/etc/c.pem\n`
    assert.deepStrictEqual(pathsIn(text), ["/srv/state", "/run/a", "/etc/p", "/etc/c.pem"])
  })
})

describe("what a process holds", () => {
  it("is read from /proc/self/status", () => {
    const status = "Name:\tnode\nCapInh:\t0\nCapPrm:\t0000000000801400\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\n"
    assert.deepStrictEqual(heldPrivileges(status), {
      permitted: least,
      bounding: 0x1ffffffffffn,
      noNewPrivileges: true
    })
  })
})
