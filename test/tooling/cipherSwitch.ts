/**
 * Proves that a built program encrypts: nothing in it can replace the cipher of packets, as the throughput bench does for
 * one of its pairs. `node test/tooling/cipherSwitch.ts` builds into a temporary directory (part of `npm run check`).
 */
import { execFileSync } from "node:child_process"
import { createCipheriv } from "node:crypto"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import process from "node:process"
import { fileURLToPath, pathToFileURL } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** All that the program may be told about offloads; none of it is about ciphers. */
const switches = ["all", "none", "", "gso", "gro", "tso", "join", "simd"]

/** One line for each way that was found to replace the cipher; the directory is as `tsc` made it (`src`, `layers`). */
export const findCipherSwitches = (dist: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (const file of programs(dist)) {
    const name = Path.relative(dist, file)
    const text = Fs.readFileSync(file, "utf8")
    for (const [, specifier] of text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)["']([^"']+)["']/g)) {
      if (!specifier!.startsWith(".")) continue
      const target = Path.resolve(Path.dirname(file), specifier!)
      if (!target.startsWith(dist + Path.sep))
        found.push(`${name} loads ${specifier}, which is not part of the program`)
    }
    if (/\bregisterHooks\b|\bmodule\.register\b|\bnoCipher\b|\bcopyPrimitives\b/.test(text)) {
      found.push(`${name} can replace modules`)
    }
    for (const [variable] of text.matchAll(
      /\b[A-Z][A-Z0-9]*_[A-Z0-9_]*(?:CIPHER|AEAD|CRYPT|CHACHA|COPY)[A-Z0-9_]*\b/g
    )) {
      if (new RegExp(`["'\`.]${variable}\\b`).test(text)) found.push(`${name} asks for ${variable}`)
    }
    // Other implementations come in by further arguments, in tests only.
    for (const [, given] of text.matchAll(/\bmakePrimitives\(([^)]*)\)/g)) {
      if (!/^\w+$/.test(given!) && !/=/.test(given!)) found.push(`${name} makes its primitives of (${given})`)
    }
  }
  return found
}

/** The same for what the built cipher does under every switch: a line for each that does not encrypt. */
export const findUnencrypted = (dist: string): ReadonlyArray<string> =>
  switches.flatMap((value) => {
    const sealed = execFileSync(process.execPath, ["--input-type=module", "-e", seal(dist)], {
      encoding: "utf8",
      env: { ...process.env, SALLYPORT_OFFLOADS: value },
      timeout: 30_000
    })
    return sealed.trim() === expected() ? [] : [`with SALLYPORT_OFFLOADS=${value} a packet is not encrypted`]
  })

const programs = (dist: string): ReadonlyArray<string> =>
  ["src", "layers"].flatMap((part) =>
    Fs.readdirSync(Path.join(dist, part), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".js"))
      .map((name) => Path.join(dist, part, name))
  )

/** 1,420 bytes, key 07…, counter 3, once by each implementation that there is. */
const seal = (dist: string): string => {
  const url = (path: string): string => JSON.stringify(pathToFileURL(Path.join(dist, path)).href)
  return `
    const { makeMemory } = await import(${url("layers/dataplane/native/memory.js")})
    const { makePrimitives } = await import(${url("layers/dataplane/native/primitives.js")})
    const { makeNodePrimitives } = await import(${url("layers/dataplane/nodePrimitives.js")})
    const memory = makeMemory(1)
    const { bytes } = memory.arena
    const at = memory.arena.reserve(2048)
    const answers = [makePrimitives(memory).primitives, makeNodePrimitives(bytes)].map((primitives) => {
      bytes.fill(9, at, at + 1420)
      primitives.aead(new Uint8Array(32).fill(7)).seal(3, at, 1420, at)
      return Buffer.from(bytes.slice(at, at + 1436)).toString("base64")
    })
    console.log(answers[0] === answers[1] ? answers[0] : "two answers")`
}

const expected = (): string => {
  const nonce = Buffer.alloc(12)
  nonce[4] = 3
  const cipher = createCipheriv("chacha20-poly1305", Buffer.alloc(32, 7), nonce, { authTagLength: 16 })
  return Buffer.concat([cipher.update(Buffer.alloc(1_420, 9)), cipher.final(), cipher.getAuthTag()]).toString("base64")
}

/** Builds the program as it is published, but elsewhere; the caller removes the directory. */
export const build = (): string => {
  const directory = Fs.mkdtempSync(Path.join(tmpdir(), "sallyport-build-"))
  const compiler = Path.join(root, "node_modules/typescript/bin/tsc")
  execFileSync(process.execPath, [compiler, "-p", "tsconfig.build.json", "--outDir", directory], {
    cwd: root,
    timeout: 120_000
  })
  Fs.symlinkSync(Path.join(root, "node_modules"), Path.join(directory, "node_modules"))
  Fs.writeFileSync(Path.join(directory, "package.json"), '{"type":"module"}')
  return directory
}

if (import.meta.main) {
  const dist = build()
  const found = [...findCipherSwitches(dist), ...findUnencrypted(dist)]
  Fs.rmSync(dist, { recursive: true })
  for (const line of found) process.stderr.write(`${line}\n`)
  process.exitCode = found.length === 0 ? 0 : 1
}
