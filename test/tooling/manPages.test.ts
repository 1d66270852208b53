import { spawnSync } from "node:child_process"
import { readFileSync, globSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Completions from "effect/cli/Completions"
import { cli } from "../../src/cli/cli.ts"
import { allHelp, manPage, pageName } from "./manPages.ts"

const about = { date: "2026-01-31", version: "1.2.3" }

const sources = globSync("src/cli/*.ts").map((file) => readFileSync(file, "utf8"))
const namedBy = (pattern: RegExp): ReadonlyArray<string> =>
  sources.flatMap((text) => Array.from(text.matchAll(pattern), ([, name]) => name!))
const made = namedBy(/Command\.make\(\s*"([a-z-]+)"/g)
const flags = namedBy(/\b(?:Flag\.[A-Z]\w+|switchFlag)\(\s*"([a-z0-9-]+)"/g)

/** As a reader sees it. */
const plain = (page: string): string => page.replaceAll(/\\f[BIR]/g, "").replaceAll("\\-", "-")

describe("the man pages", () => {
  it.effect("are there for every command, and name each flag, argument and command below", () =>
    Effect.gen(function* () {
      const pages = new Map((yield* allHelp()).map((help) => [pageName(help.path), plain(manPage(help, about))]))
      assert.isAbove(made.length, 25)
      for (const name of made) {
        const page = [...pages.keys()].find((title) => title === name || title.endsWith(`-${name}`))
        assert.isDefined(page, name)
      }
      assert.isAbove(flags.length, 20)
      const all = [...pages.values()].join("\n")
      for (const flag of flags) assert.match(all, new RegExp(`^--${flag}\\b`, "m"))
      assert.match(pages.get("sallyport-client-add")!, /^--public-key <public key>\n.+/m)
      assert.match(pages.get("sallyport-explain")!, /\.SH ARGUMENTS\n\.TP\nclient\n/i)
      assert.match(pages.get("sallyport")!, /^sallyport-up\(1\),$/m)
    })
  )

  it.effect("have no troff in what a description says", () =>
    Effect.gen(function* () {
      const [help] = yield* allHelp()
      const page = manPage({ ...help!, doc: { ...help!.doc, description: ".so /etc/passwd\\n" } }, about)

      assert.notMatch(page, /^\.so/m)
      assert.include(page, "\\&.so /etc/passwd\\en")
    })
  )

  it.effect("are read without a complaint", () =>
    Effect.gen(function* () {
      for (const help of yield* allHelp()) {
        const { status, stderr, stdout } = spawnSync("mandoc", ["-T", "lint", "-W", "warning"], {
          input: manPage(help, about),
          encoding: "utf8"
        })
        assert.strictEqual(status, 0, `${help.path.join(" ")}: ${stdout}${stderr}`)
      }
    })
  )
})

describe("the completions", () => {
  for (const shell of ["bash", "zsh", "fish"] as const) {
    it(`of ${shell} have every command and flag`, () => {
      const script = Completions.generate("sallyport", shell, Completions.fromCommand(cli))

      for (const name of [...made, ...flags]) assert.match(script, new RegExp(`(?<![\\w-])(?:--)?${name}(?![\\w-])`))
    })
  }

  it("of bash are a script that bash takes", () => {
    const script = Completions.generate("sallyport", "bash", Completions.fromCommand(cli))

    assert.strictEqual(spawnSync("bash", ["-n"], { input: script }).status, 0)
  })
})
