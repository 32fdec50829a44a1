"use strict";
// Each two seconds: the same page again, of which the parts marked data-live take the place of the old ones.
(() => {
  const note = document.getElementById("refreshed");
  const said = note.textContent;
  let busy = false;
  async function refresh() {
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, cache: "no-store", redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = found.getElementById(old.id);
        const used = old.contains(document.activeElement) || old.matches(":active");
        if (!fresh || used || fresh.innerHTML === old.innerHTML) continue;
        const place = old.scrollLeft;
        old.replaceWith(document.adoptNode(fresh));
        document.getElementById(fresh.id).scrollLeft = place;
      }
      const other = found.getElementById("refreshed");
      note.textContent = other ? other.textContent : said;
      note.classList.remove("down");
    } catch {
      note.textContent = "The console has ended, or is open elsewhere. Start it again: penstock-agent console";
      note.classList.add("down");
    } finally {
      busy = false;
    }
  }
  setInterval(refresh, 2000);
})();
