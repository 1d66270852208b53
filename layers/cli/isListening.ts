import * as Net from "node:net"
import { errorCode } from "./errorCode.ts"

/** Whether somebody listens at a path, be it one who may not be asked. Nobody does where nothing is, or a dead socket. */
export const isListening = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect(path)
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", (error) => resolve(!nobody.has(errorCode(error))))
  })

const nobody = new Set(["ENOENT", "ECONNREFUSED"])
