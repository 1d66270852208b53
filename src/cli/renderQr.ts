import { renderUnicodeCompact } from "uqr"

/** Bytes in the largest QR code (ISO/IEC 18004, version 40-L). */
const maxBytes = 2_953

/**
 * A WireGuard file as a QR code of half blocks, for a phone: without comments and blanks, so that it stays small. `null`: it is
 * too long for one.
 */
export const renderQr = (conf: string): string | null => {
  const short = conf
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.replace(" = ", "=").replaceAll(", ", ","))
    .join("\n")
  // A border of 4 dots, as the standard has it, would not fit into 80 columns with a file of usual length.
  return short.length > maxBytes ? null : renderUnicodeCompact(short, { border: 3 })
}
