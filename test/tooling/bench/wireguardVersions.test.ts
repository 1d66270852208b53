import { assert, describe, it } from "@effect/vitest"
import { ageWarning, readGoVersion, readModuleVersion } from "../../bench/support/wireguardVersions.ts"

const pinned = "v0.0.0-20260522210424-ecfc5a8d5446"

/** The part of a Go binary that tells how it was built. */
const binaryOf = (go: string, modules: string): string => {
  const counted = (text: string): string => String.fromCharCode(text.length) + text
  return `\u{7F}ELF bits_go1.13.go \u{FF} Go buildinf:\u{8}\u{2}${"\0".repeat(16)}${counted(go)}${counted(modules)} go1.2 rest`
}

describe("what a wireguard-go binary tells", () => {
  it("is the Go version that built it, and not another one that occurs in it", () => {
    assert.strictEqual(readGoVersion(binaryOf("go1.26.8", "9 modules")), "go1.26.8")
    assert.strictEqual(readGoVersion(binaryOf("go1.27rc1", "")), "go1.27rc1")
  })

  it("is nothing where it is no Go program, or one of an old Go", () => {
    assert.isNull(readGoVersion("\u{7F}ELF go1.26.8"))
    assert.isNull(readGoVersion(binaryOf("", "")))
    assert.isNull(readGoVersion("\u{FF} Go buildinf:"))
  })

  it("is the version of its module, unless a distribution left it out", () => {
    assert.strictEqual(readModuleVersion(`mod\tgolang.zx2c4.com/wireguard\t${pinned}\th1:x=`), pinned)
    assert.isNull(readModuleVersion("path\tgolang.zx2c4.com/wireguard\nbuild\t-compiler=gc"))
  })
})

describe("the warning of an old wireguard-go", () => {
  const newer = "v0.0.0-20270101000000-0123456789ab"

  it("is not there for the newest one", () => {
    assert.isNull(ageWarning(pinned, pinned, pinned))
    assert.isNull(ageWarning(newer, pinned, newer))
    assert.isNull(ageWarning("v0.0.20260522", pinned, pinned))
  })

  it("names an older module and the newest, which a tag's higher number does not hide", () => {
    for (const version of ["v0.0.20220316", "0.0.20250522", "v0.0.0-20260522210423-ecfc5a8d5446"]) {
      const warning = ageWarning(version, pinned, pinned)

      assert.include(warning, version)
      assert.include(warning, `older than ${pinned}`)
    }
    assert.include(ageWarning(pinned, pinned, newer), `older than ${newer}`)
  })

  it("comes where the newest could not be looked up: of an old one all the same, else that it could not", () => {
    assert.include(ageWarning("v0.0.20220316", pinned, null), `older than ${pinned}`)
    assert.include(ageWarning(pinned, pinned, null), "could not be looked up")
  })

  it("comes for a binary that does not tell how old it is", () => {
    assert.include(ageWarning("of unknown version", pinned, pinned), "does not tell how old it is")
  })

  it("is one line", () => {
    for (const version of [pinned, "v0.0.20220316", "?"]) assert.notInclude(ageWarning(version, pinned, null), "\n")
  })
})
