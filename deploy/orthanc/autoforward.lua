-- Orthanc forwards every CT series to rtseg-daemon once it is stable.
--
-- orthanc.json needs:
--   "LuaScripts": ["/etc/orthanc/autoforward.lua"],
--   "StableAge": 30,
--   "DicomModalities": { "rtseg": ["RTSEG", "127.0.0.1", 11112] }
--
-- SendToModality() is not used: in Orthanc 1.10 it fails for a series while its job reports success. Orthanc does not
-- repeat a job that failed because the daemon was away; OnJobFailure has that done by a process in the background (curl
-- must be installed), since a pause inside a callback would stop Orthanc's whole job engine.
-- A late slice makes the series stable again and the whole series is sent again: the daemon recognises what it has.

local MODALITY = 'rtseg'
local ORTHANC = 'http://127.0.0.1:8042'  -- with "AuthenticationEnabled": 'http://user:password@127.0.0.1:8042'
local PAUSE_SECONDS = 60

function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CT' then
    local body = DumpJson({ Resources = { seriesId }, Synchronous = false }, true)
    RestApiPost('/modalities/' .. MODALITY .. '/store', body, true)
  end
end

function OnJobFailure(jobId)
  local job = ParseJson(RestApiGet('/jobs/' .. jobId, true))
  if job['Type'] == 'DicomModalityStore' and job['Content']['RemoteAet'] == 'RTSEG' then
    local url = ORTHANC .. '/jobs/' .. jobId .. '/resubmit'
    os.execute('(sleep ' .. PAUSE_SECONDS .. '; curl -s -X POST -d "" "' .. url .. '") > /dev/null 2>&1 &')
  end
end
