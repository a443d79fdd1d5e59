-- Orthanc forwards every CT series to rtseg-daemon once it is stable.
--
-- orthanc.json needs:
--   "LuaScripts": ["/etc/orthanc/autoforward.lua"],
--   "StableAge": 30,
--   "DicomModalities": { "rtseg": ["RTSEG", "127.0.0.1", 11112] }
--
-- SendToModality() is not used: in Orthanc 1.10 it fails for a series while its job reports success. A job that failed
-- because the daemon was away is not repeated by Orthanc; RetryFailed() below does that from OnHeartBeat
-- ("LuaHeartBeatPeriod": 60). A late slice makes the series stable again and the whole series is sent again: the daemon
-- recognises what it has.

local MODALITY = 'rtseg'
local pending = {}

local function Forward(seriesId)
  local body = DumpJson({ Resources = { seriesId }, Synchronous = false }, true)
  local answer = RestApiPost('/modalities/' .. MODALITY .. '/store', body, true)
  local job = answer and ParseJson(answer)
  if job and job['ID'] then
    pending[job['ID']] = seriesId
  else
    print('rtseg: could not queue a series for ' .. MODALITY)
  end
end

function OnStableSeries(seriesId, tags, metadata)
  -- what came from a planning system or from ourselves is not sent round in a circle
  if tags['Modality'] == 'CT' then
    Forward(seriesId)
  end
end

local function RetryFailed()
  for jobId, seriesId in pairs(pending) do
    local job = ParseJson(RestApiGet('/jobs/' .. jobId, true) or '{}')
    if job['State'] == 'Failure' then
      RestApiPost('/jobs/' .. jobId .. '/resubmit', '{}', true)
    elseif job['State'] ~= 'Pending' and job['State'] ~= 'Running' and job['State'] ~= 'Retry' then
      pending[jobId] = nil
    end
  end
end

function OnHeartBeat()
  RetryFailed()
end
