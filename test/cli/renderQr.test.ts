import { assert, it } from "@effect/vitest"
import jsQR from "jsqr"
import { renderQr } from "../../src/cli/renderQr.ts"

const scale = 4

it("a QR code as printed is read back as the file, without its comments", () => {
  const conf = `# alice at a.b\n[Interface]\nPrivateKey = ${"A".repeat(43)}=\nDNS = 100.64.0.1, fd00::1\n\n[Peer]\nEndpoint = a.b:51820\n`
  const lines = renderQr(conf).split("\n")
  // A character is two dots, the upper one first.
  const rows = lines.flatMap((line) => [
    Array.from(line, (dot) => dot === "█" || dot === "▀"),
    Array.from(line, (dot) => dot === "█" || dot === "▄")
  ])
  const width = Math.max(...rows.map((row) => row.length)) * scale
  const height = rows.length * scale
  const pixels = new Uint8ClampedArray(width * height * 4)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const light = rows[Math.floor(y / scale)]![Math.floor(x / scale)] === true
      pixels.fill(light ? 255 : 0, (y * width + x) * 4, (y * width + x) * 4 + 3)
      pixels[(y * width + x) * 4 + 3] = 255
    }
  }

  assert.strictEqual(jsQR.default(pixels, width, height)?.data, conf.split("\n").slice(1).join("\n"))
})
