/* Search without a web server.
 *
 * Browsers refuse web workers on pages opened from a folder (file://), and the theme searches in one. There, and
 * only there, this replaces `Worker` by a hidden frame that runs the same script on the page's own thread. */
"use strict"

if (location.protocol === "file:") {
  window.Worker = class FrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.script = new URL(url, location.href).href
      this.ready = new Promise((resolve) => {
        const frame = document.createElement("iframe")
        frame.hidden = true
        frame.addEventListener("load", () => resolve(this.start(frame.contentWindow)), { once: true })
        document.body.appendChild(frame)
      })
    }

    /* Give the frame what a worker's script expects of its surroundings, then load the script into it. */
    start(scope) {
      const load = (address) =>
        new Promise((resolve, reject) => {
          const element = scope.document.createElement("script")
          element.src = new URL(address, this.script).href
          element.onload = resolve
          element.onerror = () => reject(new Error(`${element.src} cannot be loaded`))
          scope.document.head.appendChild(element)
        })
      scope.importScripts = async (...addresses) => {
        for (const address of addresses) await load(address)
      }
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      return load(this.script).then(() => scope)
    }

    async postMessage(data) {
      const scope = await this.ready
      scope.dispatchEvent(new MessageEvent("message", { data }))
    }

    terminate() {}
  }
}
