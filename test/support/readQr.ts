/** What a phone makes of a QR code on a terminal. */
import jsQR from "jsqr"

/** Pixels of a dot. */
const scale = 4

/** The text of the first code among the printed lines; `null`: there is none that can be read. */
export const readQr = (printed: string): string | null => {
  const lines = printed.split("\n").filter((line) => /^[█▀▄ ]+$/.test(line))
  // A character is two dots, the upper one first.
  const rows = lines.flatMap((line) => [
    Array.from(line, (dot) => dot === "█" || dot === "▀"),
    Array.from(line, (dot) => dot === "█" || dot === "▄")
  ])
  const width = Math.max(0, ...rows.map((row) => row.length)) * scale
  const height = rows.length * scale
  const pixels = new Uint8ClampedArray(width * height * 4)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const light = rows[Math.floor(y / scale)]![Math.floor(x / scale)] === true
      pixels.fill(light ? 255 : 0, (y * width + x) * 4, (y * width + x) * 4 + 3)
      pixels[(y * width + x) * 4 + 3] = 255
    }
  }
  return jsQR.default(pixels, width, height)?.data ?? null
}
