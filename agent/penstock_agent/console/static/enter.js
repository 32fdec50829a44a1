"use strict";
// The code behind the # was not sent anywhere; now it is taken out of the history and sent, once.
(() => {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  document.getElementById("code").value = code;
  document.getElementById("enter").submit();
})();
