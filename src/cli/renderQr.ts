import { renderUnicodeCompact } from "uqr"

/** A WireGuard file as a QR code of half blocks, for a phone; comments are left out, so that it stays small. */
export const renderQr = (conf: string): string =>
  renderUnicodeCompact(
    conf
      .split("\n")
      .filter((line) => !line.startsWith("#"))
      .join("\n"),
    { border: 4 }
  )
